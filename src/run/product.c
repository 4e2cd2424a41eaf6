/* product.c - finished stages on disk: made aside, completed by one rename, checked when used.
 *
 * Work goes on in <fp>.work/.  Commit syncs and hashes every file but those only needed while working (checkpoints,
 * parts, temporary files), writes product.json with the list, renames the folder to <fp>/, and only then removes those:
 * a kill at any instant finds the checkpoints or the whole product.  A product that fails its check is moved aside,
 * never used, never deleted.
 *
 * Two runs may want the same product at once: whoever begins takes a lock inside the work folder, the other one is
 * told who works.  The lock goes when its holder dies; the work that is left is then taken over. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "midre/workspace.h"
#include "src/run/files_priv.h"

#define FACTS_FILE      "product.json"
#define LOCK_FILE       "lock"
#define FACTS_BYTES_MAX ((size_t)16 << 20)

enum mi_status mi_product_open(const struct mi_workspace *ws, const char *stage, const struct mi_fingerprint *fp,
                               struct mi_product *p) {
    *p = (struct mi_product){.lock = -1, .fp = *fp};
    if (strlen(fp->hex) != 64 || strspn(fp->hex, "0123456789abcdef") != 64)
        return mi_fail(MI_E_INTERNAL, "stage %s has no fingerprint", stage);
    if (!*stage || strlen(stage) >= sizeof p->stage || strchr(stage, '/'))
        return mi_fail(MI_E_INTERNAL, "\"%s\" cannot name a stage", stage);
    memcpy(p->stage, stage, strlen(stage) + 1);
    p->dir = mi_format("%s/cache/%s/%.16s", ws->root, stage, fp->hex);
    p->work = mi_format("%s/cache/%s/%.16s.work", ws->root, stage, fp->hex);
    if (p->dir && p->work) return MI_OK;
    mi_product_close(p);
    return MI_E_NOMEM;
}

void mi_product_close(struct mi_product *p) {
    if (p->lock >= 0) close(p->lock);
    free(p->dir);
    free(p->work);
    *p = (struct mi_product){.lock = -1};
}

char *mi_product_file(const struct mi_product *p, const char *name) {
    return mi_path_join(p->dir, name);
}

char *mi_product_work_file(const struct mi_product *p, const char *name) {
    return mi_path_join(p->work, name);
}

char *mi_product_facts(const struct mi_product *p) {
    char *path = mi_product_file(p, FACTS_FILE);
    char *text = path ? mi_read_file(path, FACTS_BYTES_MAX, NULL) : NULL;
    free(path);
    return text;
}

/* ---- checking ------------------------------------------------------------------------------------------- */

/* Why one listed file is not what product.json says; NULL when it is.  `verify` reads all of it. */
static const char *file_damage(const struct mi_product *p, const char *name, const json_t *facts, bool verify) {
    struct stat st;
    char sha[65];
    const char *wanted = json_string_value(json_object_get(facts, "sha256")), *why = NULL;
    const json_t *bytes = json_object_get(facts, "bytes");
    if (strchr(name, '/') || !wanted || !json_is_integer(bytes)) return "has no proper entry in " FACTS_FILE;
    char *path = mi_product_file(p, name);
    if (!path) return "cannot be checked: out of memory";
    if (stat(path, &st) != 0)
        why = "is missing";
    else if (st.st_size != json_integer_value(bytes))
        why = "has the wrong size";
    else if (verify && mi_file_sha256(path, sha) != MI_OK)
        why = "cannot be read";
    else if (verify && strcmp(sha, wanted) != 0)
        why = "has the wrong checksum";
    free(path);
    return why;
}

/* A sentence on what is wrong with the product's folder, or NULL.  Caller frees. */
static char *find_damage(const struct mi_product *p, bool verify) {
    char *text = mi_product_facts(p), *damage = NULL;
    json_t *facts = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL, *about;
    const json_t *files = json_object_get(facts, "files");
    const char *whole = json_string_value(json_object_get(facts, "fingerprint")), *name;
    free(text);
    if (!facts)
        damage = mi_strdup(FACTS_FILE " is missing or not JSON");
    else if (!whole || strcmp(whole, p->fp.hex) != 0)
        damage = mi_strdup(FACTS_FILE " has another fingerprint");
    else if (!json_is_object(files))
        damage = mi_strdup(FACTS_FILE " lists no files");
    json_object_foreach((json_t *)(uintptr_t)files, name, about) {
        const char *why = damage ? NULL : file_damage(p, name, about, verify);
        if (why) damage = mi_format("%s %s", name, why);
    }
    json_decref(facts);
    return damage;
}

/* Renames the folder to <fp>.damaged, <fp>.damaged.2, ... and says so in *note. */
static void move_aside(const struct mi_product *p, const char *damage, char **note) {
    char *aside = NULL;
    int rc = -1;
    for (int i = 1; i < 1000 && rc != 0; i++) {
        free(aside);
        aside = i == 1 ? mi_format("%s.damaged", p->dir) : mi_format("%s.damaged.%d", p->dir, i);
        if (!aside) break;
        if (mi_exists(aside)) continue;
        rc = rename(p->dir, aside);
        if (rc != 0 && errno != EEXIST && errno != ENOTEMPTY) break;
    }
    if (note)
        *note = rc == 0 ? mi_format("damaged %s %.16s: %s; moved to %s", p->stage, p->fp.hex, damage, aside)
                        : mi_format("damaged %s %.16s: %s; cannot move %s aside: %s", p->stage, p->fp.hex, damage,
                                    p->dir, strerror(errno));
    free(aside);
}

bool mi_product_ready(struct mi_product *p, bool verify, char **note) {
    if (note) *note = NULL;
    if (!mi_exists(p->dir)) return false;
    bool waiting = mi_error_status() != MI_OK;
    char *damage = find_damage(p, verify);
    if (!waiting) mi_error_clear(); /* damage is reported in the note, it is not a failure */
    if (!damage) return true;
    move_aside(p, damage, note);
    free(damage);
    return false;
}

/* ---- working -------------------------------------------------------------------------------------------- */

/* Opens and locks work/lock.  MI_OK with *fd < 0: the folder was renamed away in between, try again. */
static enum mi_status take_lock(const struct mi_product *p, int *fd) {
    char *path = mi_product_work_file(p, LOCK_FILE), text[32] = "";
    struct stat mine, now;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    enum mi_status status = MI_OK;
    *fd = -1;
    if (!path) return MI_E_NOMEM;
    int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (f < 0) {
        if (errno != ENOENT) status = mi_fail_errno("open", path);
    } else if (fcntl(f, F_OFD_SETLK, &lock) != 0) {
        ssize_t n = errno == EAGAIN || errno == EACCES ? pread(f, text, sizeof text - 1, 0) : -1;
        status = n < 0 ? mi_fail_errno("lock", path)
                       : mi_fail(MI_E_INPUT, "%s %.16s is just being made by process %d; wait for it", p->stage,
                                 p->fp.hex, atoi(text));
    } else if (fstat(f, &mine) == 0 && stat(path, &now) == 0 && mine.st_ino == now.st_ino) {
        int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
        if (ftruncate(f, 0) != 0 || pwrite(f, text, (size_t)n, 0) != n) status = mi_fail_errno("write", path);
        if (status == MI_OK) *fd = f;
    }
    if (f >= 0 && *fd < 0) close(f);
    free(path);
    return status;
}

enum mi_status mi_product_begin(struct mi_product *p) {
    if (p->lock >= 0) return MI_OK;
    for (int attempt = 0; attempt < 100; attempt++) {
        MI_TRY(mi_make_dirs(p->work));
        MI_TRY(take_lock(p, &p->lock));
        if (p->lock >= 0) return MI_OK;
    }
    return mi_fail(MI_E_DISK, "cannot lock %s: it keeps disappearing", p->work);
}

bool mi_product_busy(const struct mi_product *p) {
    if (p->lock >= 0) return false;
    char *path = mi_product_work_file(p, LOCK_FILE);
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool busy = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    if (fd >= 0) close(fd);
    free(path);
    return busy;
}

/* ---- committing ----------------------------------------------------------------------------------------- */

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

static bool is_scratch(const char *name) {
    size_t n = strlen(name);
    return starts_with(name, "ckpt-") || starts_with(name, "part-") || strcmp(name, FACTS_FILE) == 0 ||
           (n > 4 && strcmp(name + n - 4, ".tmp") == 0);
}

/* Syncs, hashes and lists one file of the work folder; scratch is left out. */
static enum mi_status take_file(const struct mi_product *p, const char *name, json_t *files) {
    struct stat st;
    char sha[65];
    char *path = mi_product_work_file(p, name);
    if (!path) return MI_E_NOMEM;
    enum mi_status status = MI_OK;
    if (lstat(path, &st) != 0)
        status = mi_fail_errno("look at", path);
    else if (is_scratch(name))
        status = MI_OK; /* goes when the product is whole: a kill before that needs it */
    else if (!S_ISREG(st.st_mode))
        status = mi_fail(MI_E_INTERNAL, "%s is not a regular file; products hold only files", path);
    else {
        status = mi_sync_path(path);
        if (status == MI_OK) status = mi_file_sha256(path, sha);
        json_t *about =
            status == MI_OK ? json_pack("{s:s, s:I}", "sha256", sha, "bytes", (json_int_t)st.st_size) : NULL;
        if (status == MI_OK && json_object_set_new(files, name, about) != 0)
            status = mi_fail(MI_E_NOMEM, "cannot list %s", path);
    }
    free(path);
    return status;
}

static enum mi_status list_files(const struct mi_product *p, json_t *files) {
    enum mi_status status = MI_OK;
    DIR *dir = opendir(p->work);
    if (!dir) return mi_fail_errno("list", p->work);
    for (struct dirent *e; status == MI_OK && (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, LOCK_FILE) == 0) continue;
        status = take_file(p, e->d_name, files);
    }
    closedir(dir);
    return status;
}

static enum mi_status write_facts(const struct mi_product *p, json_t *facts) {
    char *path = mi_product_work_file(p, FACTS_FILE), *text = json_dumps(facts, JSON_INDENT(1) | JSON_SORT_KEYS);
    enum mi_status status = path && text ? mi_write_file(path, text, strlen(text))
                                         : mi_fail(MI_E_NOMEM, "cannot write " FACTS_FILE " of %s", p->work);
    free(text);
    free(path);
    return status;
}

/* What was only needed while working.  Left-overs do no harm, so trouble here is none. */
static void remove_scratch(const struct mi_product *p) {
    DIR *dir = opendir(p->dir);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (!is_scratch(e->d_name) || strcmp(e->d_name, FACTS_FILE) == 0) continue;
        char *path = mi_product_file(p, e->d_name);
        if (path) unlink(path);
        free(path);
    }
    if (dir) closedir(dir);
}

/* The rename that makes it a product.  If another engine was first, its equal product stays and ours goes. */
static enum mi_status publish(struct mi_product *p) {
    MI_TRY(mi_sync_path(p->work));
    char *lock = mi_product_file(p, LOCK_FILE);
    if (!lock) return MI_E_NOMEM;
    enum mi_status status = MI_OK;
    bool theirs = mi_exists(p->dir) && mi_product_ready(p, true, NULL); /* else what was there is moved aside */
    if (theirs)
        status = mi_remove_tree(p->work);
    else if (rename(p->work, p->dir) != 0)
        status = mi_fail_errno("rename into", p->dir);
    if (status == MI_OK) status = mi_sync_parent(p->dir);
    if (status == MI_OK) {
        remove_scratch(p);
        unlink(lock);
        close(p->lock);
        p->lock = -1;
    }
    free(lock);
    return status;
}

enum mi_status mi_product_commit(struct mi_product *p, const char *facts_json) {
    if (p->lock < 0) return mi_fail(MI_E_INTERNAL, "commit of %s %.16s without begin", p->stage, p->fp.hex);
    json_t *facts = facts_json ? json_loads(facts_json, 0, NULL) : json_object(), *files = json_object();
    enum mi_status status = MI_OK;
    if (!json_is_object(facts) || !files) {
        status = mi_fail(MI_E_INTERNAL, "the facts of %s %.16s are not a JSON object", p->stage, p->fp.hex);
        goto out;
    }
    status = list_files(p, files);
    if (status != MI_OK) goto out;
    json_t *own =
        json_pack("{s:i, s:s, s:s, s:O}", "v", 1, "stage", p->stage, "fingerprint", p->fp.hex, "files", files);
    if (!own || json_object_update(facts, own) != 0) status = mi_fail(MI_E_NOMEM, "cannot write " FACTS_FILE);
    json_decref(own);
    if (status == MI_OK) status = write_facts(p, facts);
    if (status == MI_OK) status = publish(p);
out:
    json_decref(files);
    json_decref(facts);
    return status;
}
