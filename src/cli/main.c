/* src/cli/main.c - the program `midre`: finds the command, parses its line, runs it, turns the outcome into an exit
 * code.
 *
 * No libtorch here: the program starts in a blink and hands over to midre-engine for everything that computes.  Only
 * LC_CTYPE is taken from the environment; numbers keep their '.' in every locale.  A bare `midre`, or a word that is
 * an existing file, opens the workbench. */
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

static bool is_file(const char *word) {
    struct stat st;
    return stat(word, &st) == 0 && S_ISREG(st.st_mode);
}

/* Index of the first word behind a leading --workspace, which may stand before the command. */
static int first_word(int argc, char **argv) {
    int i = 1;
    while (i < argc && (!strncmp(argv[i], "-w", 2) || !strncmp(argv[i], "--workspace", 11)))
        i += strchr(argv[i], '=') || (argv[i][1] == 'w' && argv[i][2]) ? 1 : 2;
    return i;
}

static bool is_command(const char *word) {
    for (int i = 0; cli_commands[i]; i++) {
        if (!strcmp(cli_commands[i]->name, word)) return true;
    }
    return false;
}

/* The command of this line, NULL with a message.  Its own word is taken out of argv, the rest moves up. */
static const struct cli_command *choose(int *argc, char **argv) {
    int at = first_word(*argc, argv);
    if (at >= *argc) return cli_find("ui");
    const struct cli_command *command = NULL;
    const char *word = argv[at];
    if (!strcmp(word, "--version") || !strcmp(word, "-V"))
        command = cli_find("version");
    else if (!strcmp(word, "--help") || !strcmp(word, "-h"))
        command = cli_find("help");
    else if (word[0] == '-' || (!is_command(word) && is_file(word)))
        return cli_find("ui");
    else
        command = cli_find(word);
    for (int i = at; i + 1 < *argc; i++) argv[i] = argv[i + 1];
    --*argc;
    return command;
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
    struct cli c = {0};
    const struct cli_command *command = choose(&argc, argv);
    enum mi_status st = MI_E_USAGE;
    if (command) {
        st = cli_parse(&c, command, argc - 1, argv + 1);
        if (st == MI_OK && cli_has(&c, "help"))
            cli_print_command(stdout, command);
        else if (st == MI_OK)
            st = command->exec(&c);
    }
    int code = report(&c, st);
    cli_close(&c);
    if (fflush(stdout) != 0 && code == 0) code = mi_exit_code(MI_E_DISK);
    return code;
}
