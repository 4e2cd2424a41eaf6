/* ui/frame.h - one frame: tab row, the screen, status row, popup, pictures. */
#ifndef MIDRE_FRAME_H
#define MIDRE_FRAME_H

struct mi_ui;
void mi_frame_draw(struct mi_ui *ui);

#endif
