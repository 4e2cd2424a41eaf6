/* src/cli/main.c - the program `midre`: finds the command, parses its line, runs it, turns the outcome into an exit code.
 *
 * No libtorch here: the program starts in a blink and hands over to midre-engine for everything that computes.  Only
 * LC_CTYPE is taken from the environment; numbers keep their '.' in every locale.  A bare `midre`, or a word that is
 * an existing file, opens the workbench. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

static bool is_file(const char *word) {
    struct stat st;
    return stat(word, &st) == 0 && S_ISREG(st.st_mode);
}

/* The command of this line; *skip receives how many words it took. */
static const struct cli_command *choose(int argc, char **argv, int *skip) {
    *skip = 1;
    if (argc < 2) return *skip = 0, cli_find("ui");
    const char *word = argv[1];
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) return cli_find("version");
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) return cli_find("help");
    for (int i = 0; cli_commands[i]; i++) {
        if (!strcmp(cli_commands[i]->name, word)) return cli_commands[i];
    }
    if (word[0] == '-' || is_file(word)) return *skip = 0, cli_find("ui");
    return cli_find(word);
}

static int report(const struct cli *c, enum mi_status st) {
    if (st != MI_OK && st != MI_STOPPED) {
        const char *text = mi_error_text();
        fprintf(stderr, "midre: %s\n", *text ? text : "failed without saying why; this is a defect of midre");
    }
    return c->exit_code ? c->exit_code : mi_exit_code(st);
}

int main(int argc, char **argv) {
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN); /* `midre table | head`: a failed write is reported where it happens */
    struct cli c = {0};
    int skip = 0;
    const struct cli_command *command = choose(argc, argv, &skip);
    enum mi_status st = MI_E_USAGE;
    if (command) {
        int first = argc < 2 ? 1 : 1 + skip;
        st = cli_parse(&c, command, argc - first, argv + first);
        if (st == MI_OK && cli_has(&c, "help")) cli_print_command(stdout, command);
        else if (st == MI_OK) st = command->exec(&c);
    }
    int code = report(&c, st);
    cli_close(&c);
    if (fflush(stdout) != 0 && code == 0) code = mi_exit_code(MI_E_DISK);
    return code;
}
