/* src/engine/convert.c - `midre-engine convert IN OUT [--half] [--strip PREFIX]`: one checkpoint format into another.
 *
 * Reading is mt_archive_open (any format, wrappers' prefixes taken off, optimiser states left behind), writing goes by
 * OUT's name: .safetensors, or .pth/.pt for torch.load.  One tensor at a time is in memory.  Values keep their type
 * unless --half makes real numbers 16-bit; a number that does not fit there is refused instead of becoming infinite. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

struct conversion {
    const char *in, *out, *strip;
    bool half;
    int64_t bytes;
};

static bool ends_with(const char *text, const char *tail) {
    size_t n = strlen(text), m = strlen(tail);
    return n > m && strcmp(text + n - m, tail) == 0;
}

static enum mi_status read_arguments(struct conversion *c, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--half") == 0)
            c->half = true;
        else if (strcmp(argv[i], "--strip") == 0 && i + 1 < argc)
            c->strip = argv[++i];
        else if (argv[i][0] == '-')
            return mi_fail(MI_E_USAGE, "convert: unknown option %s", argv[i]);
        else if (!c->in)
            c->in = argv[i];
        else if (!c->out)
            c->out = argv[i];
        else
            return mi_fail(MI_E_USAGE, "convert: one file into one file: %s is too much", argv[i]);
    }
    if (!c->in || !c->out) return mi_fail(MI_E_USAGE, "convert: name two files: convert IN OUT");
    if (!ends_with(c->out, ".safetensors") && !ends_with(c->out, ".pth") && !ends_with(c->out, ".pt"))
        return mi_fail(MI_E_USAGE, "convert: %s: the name must end in .safetensors, .pth or .pt", c->out);
    return MI_OK;
}

static enum mi_status copy_tensor(struct conversion *c, mt_archive *in, mt_archive *out, const char *name) {
    mt_tensor *t = mt_archive_get(in, name, MT_CPU);
    if (!t) return mt_status();
    mt_dtype d = mt_dtype_of(t);
    bool real = d == MT_F32 || d == MT_F64 || d == MT_BF16;
    if (c->half && real) {
        mt_tensor *small = mt_cast(t, MT_F16);
        if (mt_all_finite(t) && !mt_all_finite(small))
            return mi_fail(MI_E_INPUT, "%s: tensor '%s' holds numbers too large for half precision", c->in, name);
        t = small;
    }
    size_t skip = c->strip && strncmp(name, c->strip, strlen(c->strip)) == 0 ? strlen(c->strip) : 0;
    static const int64_t width[] = {[MT_F32] = 4, [MT_F64] = 8, [MT_BF16] = 2, [MT_F16] = 2,
                                    [MT_I64] = 8, [MT_I32] = 4, [MT_U8] = 1,   [MT_BOOL] = 1};
    c->bytes += mt_numel(t) * width[mt_dtype_of(t)];
    return mt_archive_put(out, name + skip, t);
}

static enum mi_status copy_all(struct conversion *c, mt_archive *in, mt_archive *out) {
    int stripped = 0;
    if (ends_with(c->out, ".safetensors"))
        MI_TRY(mt_archive_meta_put(out, "format", "pt")); /* what other readers ask */
    for (int i = 0; mt_archive_meta_key(in, i); i++) {
        const char *key = mt_archive_meta_key(in, i);
        if (strcmp(key, "format") != 0) MI_TRY(mt_archive_meta_put(out, key, mt_archive_meta(in, key)));
    }
    for (int i = 0; i < mt_archive_count(in); i++) {
        const char *name = mt_archive_name(in, i);
        stripped += c->strip && strncmp(name, c->strip, strlen(c->strip)) == 0;
        mt_scope *s = mt_scope_begin("convert");
        enum mi_status st = copy_tensor(c, in, out, name), end = mt_scope_end(s);
        MI_TRY(st != MI_OK ? st : end);
    }
    if (c->strip && !stripped) return mi_fail(MI_E_INPUT, "%s: no tensor's name begins with '%s'", c->in, c->strip);
    return MI_OK;
}

static enum mi_status convert(struct conversion *c) {
    mt_archive *in = mt_archive_open(c->in);
    if (!in) return mi_error_status();
    mt_archive *out = mt_archive_create(c->out);
    enum mi_status st = out ? copy_all(c, in, out) : mi_error_status();
    if (st == MI_OK)
        st = mt_archive_close(out);
    else
        mt_archive_abort(out);
    if (st == MI_OK)
        printf("%s: %d tensors, %.1f MB of values, from %s format\n", c->out, mt_archive_count(in),
               (double)c->bytes / 1e6, mt_archive_format(in));
    mt_archive_close(in);
    return st;
}

int convert_command(int argc, char **argv) {
    struct conversion c = {0};
    enum mi_status st = read_arguments(&c, argc, argv);
    if (st == MI_OK) st = mt_init(1);
    if (st == MI_OK) st = convert(&c);
    if (st != MI_OK) fprintf(stderr, "midre: %s\n", mi_error_text());
    return mi_exit_code(st);
}
