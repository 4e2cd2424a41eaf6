/* src/judge/score.c - attack accuracy from verdicts, by the protocol of LOMMA and BiDO that MIDRE reports.
 *
 * Identities are taken in groups (60); each of the R restarts is one round over a group.  A group's accuracy is the
 * mean of its R round accuracies, its spread their sample standard deviation (divisor R-1).  Both are averaged over
 * the groups, a smaller last group counting by its size, so that the accuracy is always hits / images.  With one
 * restart there is no spread: NAN. */
#include <math.h>

#include "midre/judge.h"

struct tally { double mean, std; };

/* Mean and sample standard deviation, in percent, over rounds of one group of identities. */
static struct tally group_tally(const struct mi_verdict *v, int ids, int restarts, bool five) {
    double sum = 0, square = 0;
    for (int r = 0; r < restarts; r++) {
        int hits = 0;
        for (int i = 0; i < ids; i++) {
            const struct mi_verdict *one = &v[i * restarts + r];
            hits += five ? one->hit5 : one->hit;
        }
        sum += 100.0 * hits / ids;
    }
    double mean = sum / restarts;
    for (int r = 0; r < restarts; r++) {
        int hits = 0;
        for (int i = 0; i < ids; i++) {
            const struct mi_verdict *one = &v[i * restarts + r];
            hits += five ? one->hit5 : one->hit;
        }
        double d = 100.0 * hits / ids - mean;
        square += d * d;
    }
    return (struct tally){mean, restarts > 1 ? sqrt(square / (restarts - 1)) : NAN};
}

enum mi_status mi_score_attack(const struct mi_verdict *v, int identities, int restarts, int group,
                               struct mi_attack_score *out) {
    if (identities < 1 || restarts < 1 || group < 1)
        return mi_fail(MI_E_INPUT, "an attack score needs at least one identity, one image of each and groups of one "
                                   "(got %d, %d, %d)", identities, restarts, group);
    *out = (struct mi_attack_score){.identities = identities, .images = identities * restarts, .knn = 0};
    for (int at = 0; at < identities; at += group) {
        int ids = identities - at < group ? identities - at : group;
        double share = (double)ids / identities;
        struct tally one = group_tally(v + at * restarts, ids, restarts, false);
        struct tally five = group_tally(v + at * restarts, ids, restarts, true);
        out->top1 += share * one.mean;
        out->top1_std += share * one.std;
        out->top5 += share * five.mean;
        out->top5_std += share * five.std;
    }
    for (int i = 0; i < out->images; i++) out->knn += v[i].distance / out->images; /* NAN until mi_score_knn ran */
    return MI_OK;
}
