/* src/cli/steer.h - one word to the engine of the run named by the command's first argument. */
#ifndef MIDRE_CLI_STEER_H
#define MIDRE_CLI_STEER_H

#include "cli.h"

/* Sends `word`; on success prints "run 7 <what>". */
enum mi_status cli_steer(struct cli *c, const char *word, const char *what);

#endif
