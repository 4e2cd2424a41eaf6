/* src/train/recipe.c - a training recipe from its spec section ([target], [judge] or [pretrain]).
 *
 * Single values were validated by the settings list; here only what concerns several settings at once is checked:
 * the list of milestones, and a schedule that needs what was not given. */
#include <stdlib.h>
#include <string.h>

#include "midre/spec.h"
#include "train_priv.h"

static enum mi_status read_milestones(const struct mi_values *s, struct mi_train_recipe *r) {
    size_t n = 0;
    const char *text = mi_values_text(s, "milestones");
    char **list = mi_list_split(text, ',', &n);
    if (!list) return mi_error_status();
    enum mi_status st = MI_OK;
    size_t most = sizeof(r->milestones) / sizeof(r->milestones[0]);
    if (n > most)
        st = mi_fail(MI_E_INPUT, "[%s] milestones: at most %zu epochs, not %zu", mi_values_section(s), most, n);
    for (size_t i = 0; i < n && st == MI_OK; i++) {
        if (!*list[i]) continue;
        char *end = NULL;
        double e = strtod(list[i], &end);
        double before = r->n_milestones ? r->milestones[r->n_milestones - 1] : 0;
        if (end == list[i] || *end || !(e > before))
            st = mi_fail(MI_E_INPUT, "[%s] milestones = %s: must be growing epochs such as 75,90", mi_values_section(s),
                         text);
        else
            r->milestones[r->n_milestones++] = e;
    }
    mi_list_free(list, n);
    return st;
}

enum mi_status mi_train_recipe_read(const struct mi_values *s, struct mi_train_recipe *r) {
    memset(r, 0, sizeof(*r));
    r->epochs = (int)mi_values_int(s, "epochs");
    r->batch = (int)mi_values_int(s, "batch");
    r->optimiser = mi_values_choice(s, "optimiser") == 0 ? MI_OPT_SGD : MI_OPT_ADAM;
    r->lr = mi_values_real(s, "lr");
    r->momentum = mi_values_real(s, "momentum");
    r->weight_decay = mi_values_real(s, "weight_decay");
    r->nesterov = mi_values_bool(s, "nesterov");
    r->schedule = mi_values_choice(s, "schedule"); /* the choices are listed in the order of the enum */
    r->gamma = mi_values_real(s, "gamma");
    r->warmup = mi_values_real(s, "warmup");
    r->flip = mi_values_bool(s, "flip");
    r->crop = mi_values_real(s, "crop");
    r->jitter = (struct mi_jitter){.brightness = (float)mi_values_real(s, "brightness"),
                                   .contrast = (float)mi_values_real(s, "contrast"),
                                   .saturation = (float)mi_values_real(s, "saturation"),
                                   .hue = (float)mi_values_real(s, "hue")};
    r->keep = mi_values_choice(s, "keep") == 0 ? MI_KEEP_LAST : MI_KEEP_BEST;
    r->eval_every = (int)mi_values_int(s, "eval_every");
    MI_TRY(read_milestones(s, r));
    if (r->schedule == MI_LR_STEP && r->n_milestones == 0)
        return mi_fail(MI_E_INPUT, "[%s] schedule = step needs milestones, for example milestones = 75,90",
                       mi_values_section(s));
    return MI_OK;
}
