/* ui/live.h - what scr_live.c (curves, keys) and live_panels.c (values, machine, stages, events) share.  Private to
 * these two. */
#ifndef MIDRE_LIVE_H
#define MIDRE_LIVE_H

#include "ui/screen.h"

#define MI_LIVE_HISTORY 64

struct mi_live {
    int stage;  /* chosen stage, -1 = follow the running one */
    int smooth; /* 0, 1, 2 */
    bool logy;
    int pane;
    double cpu[MI_LIVE_HISTORY], gpu[MI_LIVE_HISTORY];
    int n_load;
    int run;        /* the run the history belongs to */
    double updated; /* the view's clock at the newest entry */
};

const char *mi_live_stage_word(const struct mi_stage_view *s);
void mi_live_latest(struct mi_ui *ui, struct mi_rect r, const struct mi_stage_view *s);
void mi_live_load(struct mi_ui *ui, struct mi_rect r);
void mi_live_stages(struct mi_ui *ui, struct mi_rect r, const struct mi_stage_view *shown);
void mi_live_events(struct mi_ui *ui, struct mi_rect r);

#endif
