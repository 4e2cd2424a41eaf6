/* midre/control.h - steering a running engine: a unix datagram-free line protocol on runs/NNNN/control.sock.
 *
 * A client connects, writes one word and a newline (pause | resume | stop | snapshot | ping), reads one line
 * ("ok running|paused|stopping PID" or "error ...") and closes.  The answer says that the request is noted; the
 * engine obeys between two steps.  stop finishes the step, writes a checkpoint and ends the engine with state
 * "stopped".  The socket path may exceed sun_path, so both sides bind and connect through /proc/self/fd of the run's
 * folder. */
#ifndef MIDRE_CONTROL_H
#define MIDRE_CONTROL_H

#include <stdbool.h>

#include "midre/status.h"

enum mi_request { MI_REQ_NONE, MI_REQ_PAUSE, MI_REQ_RESUME, MI_REQ_STOP, MI_REQ_SNAPSHOT };

/* Engine side: a thread that only listens and sets flags. */
struct mi_control;
struct mi_control *mi_control_serve(const char *run_dir);
void mi_control_close(struct mi_control *c);
bool mi_control_stop_wanted(const struct mi_control *c);
bool mi_control_paused(const struct mi_control *c);
bool mi_control_take_snapshot(struct mi_control *c); /* true once per request */
void mi_control_request(struct mi_control *c, enum mi_request r); /* from a signal's self-pipe or tests */

/* Client side: MI_E_MISSING when no engine listens. `reply` (may be NULL) gets the answer line. */
enum mi_status mi_control_send(const char *run_dir, const char *word, char *reply, int reply_size);

#endif
