/* ui/scr_setup.c - the form an experiment is made in, and the Start button.
 *
 * Two lists of the same kind: the short form (choices that make an experiment, button focused at the start so that a
 * plain Enter runs the demo) and all settings.  Values change through mi_spec_set only, so what is refused in a file is
 * refused here with the same words.  Drawing is in setup_panels.c, the look at training photos in
 * setup_preview.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/defaults.h"
#include "ui/screen.h"
#include "ui/setup.h"

static struct mi_setup *state(struct mi_ui *ui) {
    return ui->state[MI_SCR_SETUP];
}

struct mi_form *mi_setup_form(struct mi_setup *s) {
    return s->all ? &s->long_form : &s->short_form;
}
int *mi_setup_at(struct mi_setup *s) {
    return s->all ? &s->at_all : &s->at;
}

/* Both forms again from the spec: chosen entries bring and take fields. The focus stays on the same setting. */
static void rebuild(struct mi_ui *ui) {
    struct mi_setup *s = state(ui);
    struct mi_form a, b;
    struct mi_field keep = {0}, keep_all = {0};
    if (s->at < s->short_form.n) keep = s->short_form.f[s->at];
    if (s->at_all < s->long_form.n) keep_all = s->long_form.f[s->at_all];
    if (mi_form_short(&a, ui->spec) != MI_OK || mi_form_all(&b, ui->spec) != MI_OK) {
        mi_ui_say_error(ui);
        return;
    }
    mi_form_free(&s->short_form);
    mi_form_free(&s->long_form);
    s->short_form = a, s->long_form = b;
    s->built_for = ui->spec;
    for (int k = 0; k < a.n; k++)
        if (a.f[k].kind == keep.kind && !strcmp(a.f[k].section, keep.section) && !strcmp(a.f[k].label, keep.label))
            s->at = k;
    for (int k = 0; k < b.n; k++)
        if (b.f[k].set && b.f[k].set == keep_all.set && !strcmp(b.f[k].section, keep_all.section)) s->at_all = k;
    if (s->at >= a.n) s->at = a.n - 1;
    if (s->at_all >= b.n || !b.f[s->at_all].set) s->at_all = b.n > 1 ? 1 : 0;
}

static enum mi_status setup_open(struct mi_ui *ui) {
    struct mi_setup *s = mi_calloc(1, sizeof *s);
    if (!s) return MI_E_NOMEM;
    ui->state[MI_SCR_SETUP] = s;
    rebuild(ui);
    for (int k = 0; k < s->short_form.n; k++)
        if (s->short_form.f[k].kind == MI_FIELD_BUTTON) {
            s->at = k;
            break;
        }
    return MI_OK;
}

static void setup_close(struct mi_ui *ui) {
    mi_setup_preview_close(ui);
    mi_form_free(&state(ui)->short_form);
    mi_form_free(&state(ui)->long_form);
    free(state(ui));
}

static void setup_enter(struct mi_ui *ui) {
    if (state(ui)->built_for != ui->spec) rebuild(ui);
}

static void setup_want(struct mi_ui *ui, struct mi_layout_want *w) {
    w->focus_all = state(ui)->all;
}

static const struct mi_field *focused(struct mi_ui *ui) {
    struct mi_form *f = mi_setup_form(state(ui));
    int at = *mi_setup_at(state(ui));
    return at >= 0 && at < f->n ? &f->f[at] : NULL;
}

/* ---- changing values ---------------------------------------------------------------------------------- */

static void settled(struct mi_ui *ui, enum mi_status s) {
    if (s != MI_OK)
        mi_ui_say_error(ui);
    else
        ui->message[0] = 0, rebuild(ui);
    ui->dirty = true;
}

static void edit_field(struct mi_ui *ui, const struct mi_field *f, const char *text, const char *complaint);

static void line_done(struct mi_ui *ui, int key, const char *text) {
    const struct mi_field *f = focused(ui);
    if (key != '\n' || !f || !f->set) return;
    if (mi_spec_set(ui->spec, f->section, f->set->name, text) != MI_OK) {
        char complaint[512];
        snprintf(complaint, sizeof complaint, "%s", mi_error_text());
        mi_error_clear();
        edit_field(ui, f, text, complaint); /* stays open with what was typed and why it was refused */
        return;
    }
    settled(ui, MI_OK);
}

static void edit_field(struct mi_ui *ui, const struct mi_field *f, const char *text, const char *complaint) {
    char title[128], help[512];
    const struct mi_setting *s = f->set;
    snprintf(title, sizeof title, "[%s] %s", f->section, s->name);
    if (complaint)
        snprintf(help, sizeof help, "%s", complaint);
    else if (s->type == MI_INT || s->type == MI_REAL)
        snprintf(help, sizeof help, "%s. From %g to %g%s%s.", s->help, s->min, s->max, s->unit ? " " : "",
                 s->unit ? s->unit : "");
    else
        snprintf(help, sizeof help, "%s.", s->help);
    mi_popup_line(ui, title, help, text, line_done);
}

static void pick_done(struct mi_ui *ui, int key, const char *text) {
    const struct mi_field *f = focused(ui);
    if (!f || !f->set) return;
    if (key == 'e') edit_field(ui, f, mi_field_value(ui->spec, f), NULL);
    if (key == '\n') settled(ui, mi_spec_set(ui->spec, f->section, f->set->name, text));
}

/* A pick list: the catalogue (plus what the value has besides: combinations, settings of their own) or a setting's
 * choices. */
static void open_picks(struct mi_ui *ui, const struct mi_field *f) {
    const char *now = mi_field_value(ui->spec, f);
    bool entries = f->kind != MI_FIELD_SETTING, many = f->kind == MI_FIELD_ENTRIES;
    size_t n = 0, extra = 0;
    const struct mi_entry *const *e = entries ? mi_catalogue(f->catalogue, &n) : NULL;
    char **choices = mi_list_split(entries ? now : f->set->choices, entries ? ',' : '|', entries ? &extra : &n);
    struct mi_pick *p = mi_calloc(n + extra + 1, sizeof *p);
    int count = 0;
    for (size_t k = 0; p && k < n; k++, count++) {
        p[count].value = mi_strdup(entries ? e[k]->name : choices[k]);
        p[count].title = mi_strdup(entries ? e[k]->title : "");
        p[count].help = entries ? mi_format("%s %s", e[k]->help, e[k]->paper) : mi_strdup(f->set->help);
        p[count].on = many ? mi_list_has(now, ',', e[k]->name) : !strcmp(now, entries ? e[k]->name : choices[k]);
    }
    for (size_t k = 0; p && many && k < extra; k++)
        if (strpbrk(choices[k], "+:")) {
            bool several = strchr(choices[k], '+') != NULL;
            p[count++] = (struct mi_pick){mi_strdup(choices[k]), mi_strdup(several ? "combination" : "with settings"),
                                          mi_strdup(several ? "Used together" : "With settings of its own"), true};
        }
    mi_list_free(choices, entries ? extra : n);
    for (int k = 0; p && k < count; k++)
        if (!p[k].value || !p[k].title || !p[k].help) count = k;
    if (!p || !count) {
        free(p);
        mi_ui_say_error(ui);
        return;
    }
    mi_popup_pick(ui, f->label, "", p, count, many, pick_done);
}

static unsigned press(struct mi_ui *ui) {
    const struct mi_field *f = focused(ui);
    struct mi_setup *s = state(ui);
    if (!f) return MI_UI_HANDLED;
    if (f->kind == MI_FIELD_BUTTON) {
        if (strcmp(f->label, "Start"))
            s->all = true;
        else
            mi_ui_launch(ui);
    } else if (f->kind == MI_FIELD_ENTRY || f->kind == MI_FIELD_ENTRIES || f->set->type == MI_CHOICE) {
        open_picks(ui, f);
    } else if (f->set->type == MI_BOOL) {
        settled(ui, mi_field_step(ui->spec, f, 1));
    } else {
        edit_field(ui, f, mi_field_value(ui->spec, f), NULL);
    }
    return MI_UI_HANDLED | MI_UI_REDRAW;
}

/* ---- files -------------------------------------------------------------------------------------------- */

static void save_done(struct mi_ui *ui, int key, const char *path) {
    if (key != '\n' || !*path) return;
    char *text = mi_spec_write(ui->spec), *full = mi_path_resolve(".", path);
    if (text && full && mi_write_file(full, text, strlen(text)) == MI_OK)
        mi_ui_say(ui, "saved to %s", full);
    else
        mi_ui_say_error(ui);
    free(text);
    free(full);
}

static void open_done(struct mi_ui *ui, int key, const char *path) {
    if (key != '\n' || !*path) return;
    char *full = mi_path_resolve(".", path);
    struct mi_spec *spec = full ? mi_spec_load(full, NULL, 0) : NULL;
    if (spec && mi_defaults_apply(spec) == MI_OK) {
        mi_ui_set_spec(ui, spec);
        rebuild(ui);
        mi_ui_say(ui, "opened %s", full);
    } else {
        mi_ui_say_error(ui);
        mi_spec_free(spec);
    }
    free(full);
}

/* ---- moving ------------------------------------------------------------------------------------------- */

static unsigned move_focus(struct mi_ui *ui, int by, bool wrap) {
    struct mi_form *f = mi_setup_form(state(ui));
    int *at = mi_setup_at(state(ui)), k = *at, dir = by < 0 ? -1 : 1;
    if (!f->n) return MI_UI_HANDLED;
    k += by;
    if (wrap) k = (k + f->n) % f->n;
    k = k < 0 ? 0 : k >= f->n ? f->n - 1 : k;
    while (k >= 0 && k < f->n && f->f[k].kind == MI_FIELD_HEADER) k += dir;
    if (k < 0 || k >= f->n) /* a header at an end: nearest field the other way */
        for (k = k < 0 ? 0 : f->n - 1; k >= 0 && k < f->n && f->f[k].kind == MI_FIELD_HEADER;) k -= dir;
    if (k >= 0 && k < f->n) *at = k;
    return MI_UI_HANDLED | MI_UI_REDRAW;
}

static unsigned move_act(struct mi_ui *ui, enum mi_act act) {
    switch (act) {
    case MI_ACT_UP:
        return move_focus(ui, -1, false);
    case MI_ACT_DOWN:
        return move_focus(ui, 1, false);
    case MI_ACT_NEXT:
        return move_focus(ui, 1, true);
    case MI_ACT_PREV:
        return move_focus(ui, -1, true);
    case MI_ACT_PGUP:
        return move_focus(ui, -10, false);
    case MI_ACT_PGDN:
        return move_focus(ui, 10, false);
    case MI_ACT_HOME:
        return move_focus(ui, -10000, false);
    case MI_ACT_END:
        return move_focus(ui, 10000, false);
    default:
        return MI_UI_IGNORED;
    }
}

static unsigned setup_act(struct mi_ui *ui, enum mi_act act) {
    const struct mi_field *f = focused(ui);
    struct mi_setup *s = state(ui);
    bool set = f && f->set;
    switch (act) {
    case MI_ACT_LEFT:
    case MI_ACT_RIGHT:
        if (set)
            settled(ui, mi_field_step(ui->spec, f, act == MI_ACT_LEFT ? -1 : 1));
        else
            return move_focus(ui, act == MI_ACT_LEFT ? -1 : 1, false);
        break;
    case MI_ACT_TOGGLE:
        if (set && f->set->type == MI_BOOL)
            settled(ui, mi_field_step(ui->spec, f, 1));
        else
            return press(ui);
        break;
    case MI_ACT_ENTER:
        return press(ui);
    case MI_ACT_TYPE:
        if (set) edit_field(ui, f, mi_field_value(ui->spec, f), NULL);
        break;
    case MI_ACT_RESET:
        if (set) settled(ui, mi_spec_set(ui->spec, f->section, f->set->name, f->set->def));
        break;
    case MI_ACT_START:
        mi_ui_launch(ui);
        break;
    case MI_ACT_PREVIEW:
        mi_setup_preview_act(ui, f);
        break;
    case MI_ACT_ALL:
        s->all = !s->all;
        break;
    case MI_ACT_BACK:
        if (!s->all) return MI_UI_IGNORED;
        s->all = false;
        break;
    case MI_ACT_SAVE:
        mi_popup_line(ui, "Save experiment", "File to write, as a spec that `midre run FILE` takes:", "experiment.ini",
                      save_done);
        break;
    case MI_ACT_OPEN:
        mi_popup_line(ui, "Open experiment", "Spec file to read:", ui->spec->path ? ui->spec->path : "", open_done);
        break;
    default:
        return move_act(ui, act);
    }
    return MI_UI_HANDLED | MI_UI_REDRAW;
}

const struct mi_screen_desc mi_screen_setup = {.title = "Setup",
                                               .open = setup_open,
                                               .close = setup_close,
                                               .enter = setup_enter,
                                               .want = setup_want,
                                               .draw = mi_setup_draw,
                                               .note = mi_setup_note,
                                               .ended = mi_setup_ended,
                                               .act = setup_act};
