/* src/cli/cli.h - what the commands of `midre` share: their descriptor, the parsed command line, small helpers.
 *
 * A command is one const struct in one file (cmd_NAME.c), listed in commands.c.  Help, option parsing and the
 * suggestions for mistyped words all come from the descriptor.  exec returns a status; main turns it into the exit
 * code and prints the waiting message. */
#ifndef MIDRE_CLI_H
#define MIDRE_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "midre/spec.h"
#include "midre/status.h"
#include "midre/workspace.h"

struct cli_option {
    const char *name; /* long name without dashes; NULL ends the list */
    char letter;      /* short form, 0 = none */
    const char *arg;  /* what stands for the value in the help ("DIR"); NULL = a switch */
    const char *help; /* one sentence, starts with a capital, no period */
};
#define CLI_OPTION_END                                                                                                 \
    { .name = NULL }

struct cli;
struct cli_command {
    const char *name;
    const char *args;                 /* "SPEC.ini [section.key=value ...]" */
    const char *brief;                /* one line for the list of commands */
    const char *help;                 /* paragraphs for `midre help NAME`; NULL = brief only */
    const struct cli_option *options; /* NULL = none of its own */
    int min_args, max_args;           /* positional words; max -1 = any number */
    bool raw;                         /* every word, options too, is handed to the engine as it is */
    enum mi_status (*exec)(struct cli *c);
};
extern const struct cli_command *const cli_commands[]; /* NULL-terminated; commands.c */
const struct cli_command *cli_find(const char *name);  /* NULL with a did-you-mean (MI_E_USAGE) */
extern const struct cli_option cli_global_options[];

#define CLI_MAX_OPTIONS 64
struct cli {
    const struct cli_command *command;
    char **args; /* positional words, borrowed from argv */
    int n_args;
    struct {
        const char *name, *value;
    } option[CLI_MAX_OPTIONS]; /* value NULL for switches */
    int n_options;
    struct mi_workspace ws; /* after cli_workspace */
    int exit_code;          /* set by exec to override the code of its status (an engine's own code); 0 = by status */
};

/* Sorts argv[1..] of a command into options and words; everything wrong is MI_E_USAGE with a suggestion. */
enum mi_status cli_parse(struct cli *c, const struct cli_command *command, int argc, char **argv);
bool cli_has(const struct cli *c, const char *option);
const char *cli_value(const struct cli *c, const char *option); /* the last one given, NULL if none */
/* MI_E_USAGE unless the option is absent or a whole number in [lo,hi]; *out keeps its value when absent. */
enum mi_status cli_number(const struct cli *c, const char *option, long lo, long hi, long *out);
/* Opens the workspace (--workspace, then the default order). */
enum mi_status cli_workspace(struct cli *c);
/* "7", "0007", "last": the number of a run that exists. */
enum mi_status cli_run_number(struct cli *c, const char *word, int *number);
void cli_close(struct cli *c);

/* ---- help (help.c) ---- */
void cli_print_help(FILE *out);
void cli_print_command(FILE *out, const struct cli_command *command);
/* Text folded at word ends to `width` columns, every line after `indent` blanks. */
void cli_fold(FILE *out, const char *text, int indent, int width);
int cli_width(FILE *out); /* columns of the terminal on `out`, $COLUMNS, else 80 */

struct mi_image;
/* Draws a picture on standard output, at most `rows` text rows high.  word: --images, NULL = auto (draw.c). */
enum mi_status cli_draw(const struct mi_image *img, const char *word, int rows);

/* ---- starting and watching engines (launch.c, follow.c) ---- */
/* Spec from a file, or the demo (path NULL), with the words from c->args[first] on as overrides. */
struct mi_spec *cli_spec(struct cli *c, const char *path, int first);
/* Creates the run, starts its engine up to the stage `until` (NULL = all), follows it unless --detach. */
enum mi_status cli_launch(struct cli *c, const struct mi_spec *spec, const char *until);
/* Watches a run to its end.  `pid` > 0: our child, whose exit code becomes c->exit_code; 0: somebody else's. */
enum mi_status cli_follow(struct cli *c, int run, int pid);
/* Replaces this program by `midre-engine ARGS...` (args NULL-terminated, without the program). Returns on failure. */
enum mi_status cli_engine_exec(char *const *args);
extern const struct cli_option cli_launch_options[]; /* --detach --plain */

/* ---- the catalogue in words (cmd_catalogue.c) ---- */
void cli_print_settings(FILE *out, const struct mi_setting *settings, const struct mi_values *values, int width);
/* "[list]" or "[show] NAME" of a kind, from c->args. */
enum mi_status cli_catalogue(struct cli *c, enum mi_kind kind);

/* "running", "done", "broken off" (its journal says running, but no engine is alive), ... (cmd_ls.c) */
struct mi_run_view;
const char *cli_run_state(const struct mi_run_view *v, int engine_pid);

#endif
