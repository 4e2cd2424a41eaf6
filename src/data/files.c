/* files.c - lists of image files and folders, and reading one listed picture the way its dataset says.
 *
 * Names are sorted byte by byte, so that a listing never depends on the file system's own order or on the locale.
 * The crop setting is parsed for every picture; that costs nothing beside decoding and keeps listings free of it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "src/data/data_priv.h"

enum mi_status mi_files_take(struct mi_files *f, char *path) {
    if (!path) return MI_E_NOMEM;
    if (f->n == f->room) {
        size_t room = f->room ? f->room * 2 : 64;
        char **grown = realloc(f->name, room * sizeof *grown);
        if (!grown) {
            free(path);
            return mi_fail(MI_E_NOMEM, "out of memory for a list of %zu file names", room);
        }
        f->name = grown;
        f->room = room;
    }
    f->name[f->n++] = path;
    return MI_OK;
}

void mi_files_free(struct mi_files *f) {
    if (!f) return;
    for (size_t i = 0; i < f->n; i++) free(f->name[i]);
    free(f->name);
    memset(f, 0, sizeof *f);
}

const char *mi_base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_image_name(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && name[0] != '.' && (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg") || !strcasecmp(dot, ".png"));
}

/* The entry's own type where the file system tells it; CelebA's 200,000 files are not asked one by one. */
static bool is_folder(const char *path, int type) {
    struct stat st;
    if (type != DT_UNKNOWN && type != DT_LNK) return type == DT_DIR;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Order of base names without their ending: the key mi_files_find searches by. Equal stems order by full name. */
static int compare_stems(const char *a, const char *b) {
    const char *da = strrchr(a, '.'), *db = strrchr(b, '.');
    size_t na = da ? (size_t)(da - a) : strlen(a), nb = db ? (size_t)(db - b) : strlen(b);
    int order = memcmp(a, b, na < nb ? na : nb);
    return order ? order : (na > nb) - (na < nb);
}

static int by_name(const void *pa, const void *pb) {
    const char *a = *(char *const *)pa, *b = *(char *const *)pb;
    int order = compare_stems(mi_base_name(a), mi_base_name(b));
    return order ? order : strcmp(a, b);
}

static enum mi_status scan(struct mi_files *f, const char *dir, const char *setting, bool folders) {
    memset(f, 0, sizeof *f);
    if (!*dir) return mi_fail(MI_E_MISSING, "%s is not set: it names the folder that holds the data", setting);
    DIR *d = opendir(dir);
    if (!d)
        return mi_fail(MI_E_MISSING, "folder %s: %s; correct %s", dir, errno == ENOENT ? "not found" : strerror(errno),
                       setting);
    enum mi_status st = MI_OK;
    for (struct dirent *e = readdir(d); e && st == MI_OK; e = readdir(d)) {
        if (e->d_name[0] == '.' || (!folders && !is_image_name(e->d_name))) continue;
        char *path = mi_path_join(dir, e->d_name);
        bool wanted = path && (folders == is_folder(path, e->d_type));
        if (!path || wanted)
            st = mi_files_take(f, path);
        else
            free(path);
    }
    closedir(d);
    if (st != MI_OK)
        mi_files_free(f);
    else if (f->n > 1)
        qsort(f->name, f->n, sizeof *f->name, by_name);
    return st;
}

enum mi_status mi_files_scan(struct mi_files *f, const char *dir, const char *setting) {
    return scan(f, dir, setting, false);
}

enum mi_status mi_folders_scan(struct mi_files *f, const char *dir, const char *setting) {
    return scan(f, dir, setting, true);
}

/* Moves all names of `from` to the end of f. */
static enum mi_status append(struct mi_files *f, struct mi_files *from) {
    enum mi_status st = MI_OK;
    for (size_t i = 0; i < from->n; i++) {
        if (st == MI_OK)
            st = mi_files_take(f, from->name[i]);
        else
            free(from->name[i]);
    }
    free(from->name);
    memset(from, 0, sizeof *from);
    return st;
}

enum mi_status mi_files_add_tree(struct mi_files *f, const char *dir, const char *setting) {
    struct mi_files found, folders;
    MI_TRY(mi_files_scan(&found, dir, setting));
    MI_TRY(append(f, &found));
    MI_TRY(mi_folders_scan(&folders, dir, setting));
    enum mi_status st = MI_OK;
    for (size_t i = 0; i < folders.n && st == MI_OK; i++) {
        st = mi_files_scan(&found, folders.name[i], setting);
        if (st == MI_OK) st = append(f, &found);
    }
    mi_files_free(&folders);
    return st;
}

long mi_files_find(const struct mi_files *f, const char *name) {
    size_t lo = 0, hi = f->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = compare_stems(mi_base_name(f->name[mid]), name);
        if (order == 0) return (long)mid;
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

enum mi_status mi_crop_parse(const char *text, const char *section, struct mi_crop *out) {
    int side = 0, top = 0, left = 0, end = 0;
    memset(out, 0, sizeof *out);
    if (!strcmp(text, "none")) return MI_OK;
    if (!strcmp(text, "center")) {
        out->side = -1;
        return MI_OK;
    }
    if (sscanf(text, "%5d@%5d,%5d%n", &side, &top, &left, &end) != 3 || text[end] || side < 1 || top < 0 || left < 0)
        return mi_fail(MI_E_INPUT, "[%s] crop = \"%s\": expected none, center or SIDE@TOP,LEFT in px (108@55,35)",
                       section, text);
    *out = (struct mi_crop){.side = side, .top = top, .left = left};
    return MI_OK;
}

const char *mi_files_path(const struct mi_listing *l, const struct mi_item *it) {
    const struct mi_files *f = l->state;
    return f->name[it->source];
}

void mi_files_close(struct mi_listing *l) {
    mi_files_free(l->state);
    free(l->state);
    l->state = NULL;
    mi_listing_free(l);
}

static enum mi_status crop_whole(const struct mi_crop *crop, struct mi_image *img) {
    if (crop->side == 0) return MI_OK;
    struct mi_image cut;
    int side = img->width < img->height ? img->width : img->height;
    enum mi_status st = crop->side < 0
                            ? mi_image_crop(img, (img->width - side) / 2, (img->height - side) / 2, side, side, &cut)
                            : mi_image_crop(img, crop->left, crop->top, crop->side, crop->side, &cut);
    if (st != MI_OK) return st;
    mi_image_free(img);
    *img = cut;
    return MI_OK;
}

enum mi_status mi_files_pixels(const struct mi_values *v, const struct mi_listing *l, enum mi_split split,
                               const struct mi_item *it, int size, uint8_t *rgb) {
    (void)split;
    struct mi_crop crop;
    struct mi_image img;
    const char *path = mi_files_path(l, it);
    MI_TRY(mi_crop_parse(mi_values_text(v, "crop"), mi_values_section(v), &crop));
    MI_TRY(mi_image_read(path, &img));
    enum mi_status st = crop_whole(&crop, &img);
    if (st == MI_OK) st = mi_resize_rgb(img.rgb, img.width, img.height, rgb, size, size);
    if (st != MI_OK) mi_fail_context("%s", path);
    mi_image_free(&img);
    return st;
}
