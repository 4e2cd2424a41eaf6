/* ui/pics.h - the one owner of the pictures on screen.
 *
 * Screens say each frame which picture they want where; the owner compares with what is shown, erases what is no
 * longer wanted (raw spaces, before curses draws), and after curses is done sends what is new.  The cells of a picture
 * are blank in curses' own model, so curses never touches them and need not be told.  Encoded bytes are cached. */
#ifndef MIDRE_PICS_H
#define MIDRE_PICS_H

#include <stdint.h>

#include "ui/layout.h"
#include "ui/picture.h"

struct mi_pics;
struct mi_pics *mi_pics_new(const struct mi_probe *probe, enum mi_picture_mode mode);
void mi_pics_free(struct mi_pics *p);

enum mi_picture_mode mi_pics_mode(const struct mi_pics *p);
void mi_pics_set_mode(struct mi_pics *p, enum mi_picture_mode mode);
/* The mode after the present one that the terminal can show. */
enum mi_picture_mode mi_pics_next_mode(const struct mi_pics *p, int colours);

/* ---- one frame ---- */
void mi_pics_begin(struct mi_pics *p);
/* Wants `img` inside `r`; `key` identifies its content (equal key = equal pixels). The image is used during the call.
 */
void mi_pics_want(struct mi_pics *p, struct mi_rect r, uint64_t key, const struct mi_image *img);
/* Pictures that meet `r` are not wanted after all (a popup lies there). */
void mi_pics_hide(struct mi_pics *p, struct mi_rect r);
/* Before doupdate: erases what must go. */
void mi_pics_erase(struct mi_pics *p, bool light);
/* After doupdate: sends one picture if any is due and the terminal has kept up.  True when more wait. */
bool mi_pics_send(struct mi_pics *p, double now);
/* True when pictures wait to be sent. */
bool mi_pics_waiting(const struct mi_pics *p);

void mi_pics_forget(struct mi_pics *p);          /* the screen was cleared: everything must be sent again */
void mi_pics_ack(struct mi_pics *p, double now); /* CSI 0 n came: the terminal has drawn the last one */
/* A line to show when the owner lowered the quality by itself; NULL if nothing new. */
const char *mi_pics_notice(struct mi_pics *p);

#endif
