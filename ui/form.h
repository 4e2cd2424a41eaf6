/* ui/form.h - the Setup form as data: which settings a person can see, built from the descriptors alone.
 *
 * A field is one setting of one section of the spec.  Its words, range and choices come from the setting's descriptor;
 * names of catalogue entries are picked from the catalogue.  Changing a value goes through mi_spec_set, so the form
 * accepts exactly what a spec file may say.  No terminal here. */
#ifndef MIDRE_FORM_H
#define MIDRE_FORM_H

#include "midre/spec.h"

enum mi_field_kind { MI_FIELD_SETTING, MI_FIELD_ENTRY, MI_FIELD_ENTRIES, MI_FIELD_HEADER, MI_FIELD_BUTTON };

struct mi_field {
    enum mi_field_kind kind; /* ENTRY picks one catalogue entry, ENTRIES a list of them */
    char section[64];        /* "target", "defense.midre" */
    char label[40];
    const struct mi_setting *set; /* NULL for headers and buttons */
    enum mi_kind catalogue;       /* of ENTRY and ENTRIES */
};

struct mi_form {
    struct mi_field *f;
    int n;
};

/* The short form: the choices that make an experiment, and the chosen defenses' first settings. */
enum mi_status mi_form_short(struct mi_form *form, const struct mi_spec *spec);
/* Every setting there is, under headers. */
enum mi_status mi_form_all(struct mi_form *form, const struct mi_spec *spec);
void mi_form_free(struct mi_form *form);

/* Canonical text of a field's value; "" for headers and buttons. */
const char *mi_field_value(const struct mi_spec *spec, const struct mi_field *f);
/* One step up (+1) or down (-1): the next choice, entry, round number.  MI_E_INPUT if it has no steps (free text). */
enum mi_status mi_field_step(struct mi_spec *spec, const struct mi_field *f, int by);
/* The one of the spec's defenses a look at the form is about: the one a field's setting belongs to, alone before in a
 * composition; else the last.  Borrowed until the spec changes. */
const char *mi_form_defense(const struct mi_spec *spec, const struct mi_field *field);
/* Where the value lies in its range, 0..1; negative when a bar makes no sense. */
double mi_field_fraction(const struct mi_spec *spec, const struct mi_field *f);

#endif
