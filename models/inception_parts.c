/* models/inception_parts.c - units and mixing modules of the Inception networks, driven by tables.
 *
 * A unit's output is dropped as soon as the last unit that reads it has run, so a module holds little more than what
 * it joins.  The pooled input is made when the unit that wants it comes. */
#include <stdio.h>

#include "models/inception_parts.h"

void mi_unit_new(struct mi_builder *b, struct mi_unit *u, const char *name, int in, int out, int kh, int kw, int stride,
                 int ph, int pw, enum mi_init how) {
    char local[64];
    mt_convp p = MT_CONV(stride, 0);
    p.pad[0] = ph;
    p.pad[1] = pw;
    snprintf(local, sizeof local, "%s.conv", name);
    mi_conv_rect_new(b, &u->conv, local, in, out, kh, kw, p, false, how);
    snprintf(local, sizeof local, "%s.bn", name);
    mi_bn_new(b, &u->norm, local, out, 1e-3, 0.1);
}

mt_tensor *mi_unit(const struct mi_unit *u, mt_tensor *x, bool train) {
    return mi_conv_bn(&u->conv, &u->norm, x, train, true);
}

void mi_branches_new(struct mi_builder *b, struct mi_branches *m, const struct mi_branch_unit *plan,
                     enum mi_branch_pool pool, int in, int width, enum mi_init how) {
    int made[MI_BR_UNITS];
    m->plan = plan;
    m->pool = pool;
    m->out = pool == MI_BR_HALVE ? in : 0;
    for (m->n = 0; plan[m->n].name; m->n++) {
        const struct mi_branch_unit *u = &plan[m->n];
        if (m->n == MI_BR_UNITS) {
            mt_raise(MI_E_INTERNAL, "an Inception module has more than %d units", MI_BR_UNITS);
            return;
        }
        bool back = u->from == MI_BR_LAST || u->from == MI_BR_LAST2;
        int from = back ? made[m->n - (u->from == MI_BR_LAST ? 1 : 2)] : in, same = u->stride == 1;
        made[m->n] = u->out ? u->out : width;
        mi_unit_new(b, &m->unit[m->n], u->name, from, made[m->n], u->kh, u->kw, u->stride, same ? u->kh / 2 : 0,
                    same ? u->kw / 2 : 0, how);
        if (u->joins) m->out += made[m->n];
    }
}

static mt_tensor *pooled(const struct mi_branches *m, mt_tensor *x) {
    if (m->pool == MI_BR_MAX) return mt_max_pool2d(x, 3, 1, 1, false);
    if (m->pool == MI_BR_HALVE) return mt_max_pool2d(x, 3, 2, 0, false);
    return mt_avg_pool2d(x, 3, 1, 1, false, m->pool == MI_BR_AVG);
}

mt_tensor *mi_branches(const struct mi_branches *m, mt_tensor *x /* [N,in,H,W] */, bool train) {
    mt_tensor *y[MI_BR_UNITS + 1], *join[MI_BR_UNITS + 1] = {NULL}; /* [N,c,H',W'] each */
    int joins = 0;
    for (int i = 0; i < m->n; i++) {
        const struct mi_branch_unit *u = &m->plan[i];
        int back = u->from == MI_BR_LAST ? 1 : u->from == MI_BR_LAST2 ? 2 : 0;
        mt_tensor *in = back ? y[i - back] : u->from == MI_BR_POOL ? pooled(m, x) : x;
        y[i] = mi_unit(&m->unit[i], in, train);
        bool again = back == 1 && i + 1 < m->n && m->plan[i + 1].from == MI_BR_LAST2;
        if (in != x && !again && !(back && m->plan[i - back].joins)) mt_drop(in);
        if (u->joins) join[joins++] = y[i];
    }
    if (m->pool == MI_BR_HALVE) join[joins++] = pooled(m, x);
    mt_tensor *all = mt_cat(join, joins, 1); /* [N,out,H',W'] */
    for (int i = 0; i < joins; i++) mt_drop(join[i]);
    return all;
}

void mi_map_next(struct mi_map *h, mt_tensor *next) {
    if (h->ours) mt_drop(h->t);
    *h = (struct mi_map){next, true};
}

void mi_map_tap(struct mi_map *h, mt_tensor **slot) {
    *slot = h->t;
    h->ours = false;
}
