/* src/cli/help.c - help texts: made from the command descriptors, so they cannot disagree with what is parsed.
 *
 * Everything is folded to the terminal's width (80 when there is none) by one function; descriptors hold plain
 * paragraphs.  A blank line in a help text separates paragraphs, a line that starts with two blanks is kept as is
 * (examples). */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDEST 100 /* longer lines of prose are hard to read */

int cli_width(FILE *out) {
    struct winsize w;
    if (isatty(fileno(out)) && ioctl(fileno(out), TIOCGWINSZ, &w) == 0 && w.ws_col >= 20) return w.ws_col;
    const char *env = getenv("COLUMNS");
    int n = env ? atoi(env) : 0;
    return n >= 20 && n <= 1000 ? n : 80;
}

/* One paragraph without line breaks; words longer than the line stand alone. */
static void fold_line(FILE *out, const char *text, size_t len, int indent, int width) {
    int col = 0;
    for (size_t i = 0; i < len;) {
        size_t word = 0;
        int cells = 0;
        while (i + word < len && text[i + word] != ' ') cells += ((unsigned char)text[i + word++] & 0xC0) != 0x80;
        if (word) {
            if (col && col + 1 + cells > width) col = 0, fputc('\n', out);
            if (col)
                fputc(' ', out), col++;
            else
                fprintf(out, "%*s", indent, ""), col = indent;
            fwrite(text + i, 1, word, out);
            col += cells;
        }
        i += word + 1;
    }
    fputc('\n', out);
}

void cli_fold(FILE *out, const char *text, int indent, int width) {
    while (*text) {
        size_t len = strcspn(text, "\n");
        if (len >= 2 && text[0] == ' ' && text[1] == ' ')
            fprintf(out, "%*s%.*s\n", indent, "", (int)len, text);
        else if (len == 0)
            fputc('\n', out);
        else
            fold_line(out, text, len, indent, width);
        text += len + (text[len] == '\n');
    }
}

static int prose_width(FILE *out) {
    int w = cli_width(out);
    return w > WIDEST ? WIDEST : w;
}

static void print_options(FILE *out, const struct cli_option *o, int width) {
    for (; o && o->name; o++) {
        char head[64];
        int n = snprintf(head, sizeof head, "  %c%c%s--%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                         o->letter ? ", " : "  ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        fprintf(out, "%s", head);
        if (n > 24) fputc('\n', out), n = 0;
        /* The first line of the sentence follows the option; fold prints its own indent, so pad only to column 26. */
        char *text = mi_format("%s", o->help);
        if (!text) continue;
        fprintf(out, "%*s", 26 - n, "");
        size_t room = (size_t)(width - 26), len = strlen(text), cut = len;
        if (len > room) {
            for (cut = room; cut > 0 && text[cut] != ' '; cut--) {
            }
            if (!cut) cut = len;
        }
        fprintf(out, "%.*s\n", (int)cut, text);
        if (cut < len) cli_fold(out, text + cut + 1, 26, width);
        free(text);
    }
}

void cli_print_command(FILE *out, const struct cli_command *cmd) {
    int width = prose_width(out);
    fprintf(out, "usage: midre %s%s%s\n\n", cmd->name, *cmd->args ? " " : "", cmd->args);
    cli_fold(out, cmd->brief, 0, width);
    if (cmd->help) {
        fputc('\n', out);
        cli_fold(out, cmd->help, 0, width);
    }
    if (cmd->raw) return; /* its options are the engine's */
    fputs("\noptions:\n", out);
    print_options(out, cmd->options, width);
    print_options(out, cli_global_options, width);
}

void cli_print_help(FILE *out) {
    int width = prose_width(out);
    cli_fold(out,
             "midre " MIDRE_VERSION
             ": how much of its private training photos leaks out of a classifier, and what does "
             "stopping that cost?",
             0, width);
    fputs("\n"
          "usage: midre                       the workbench (demo ready to start)\n"
          "       midre COMMAND [words] [--options]\n\n",
          out);
    for (int i = 0; cli_commands[i]; i++) {
        const struct cli_command *c = cli_commands[i];
        char *line = mi_format("  %-10s %s", c->name, c->brief);
        if (!line) return;
        fprintf(out, "%.*s\n", width, line);
        free(line);
    }
    fputc('\n', out);
    cli_fold(out,
             "`midre help COMMAND` explains one; `midre help settings` lists what a spec may say.\n"
             "Exit codes: 0 fine, 2 usage, 3 bad setting or file, 4 missing, 5 device, 6 disk, 70 defect.",
             0, width);
}
