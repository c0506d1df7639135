/* Stands in for QEMU in tests of the page: a console on stdin and stdout that answers a prompt.
 *
 * Like QEMU it puts the terminal in raw mode, waits in poll() for input and for a pipe that another
 * thread writes to, and with -incoming it prints nothing until it gets a newline.
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PROMPT "~ # "

static int ticks[2];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void say(const char *text)
{
    write(1, text, strlen(text));
}

/* Wakes the console ten times a second, as a timer thread would. */
static void *tick(void *unused)
{
    for (;;) {
        usleep(100000);
        write(ticks[1], "t", 1);
    }
    return unused;
}

static int samples_left;
static double next_sample;

static void run(const char *line)
{
    if (!strncmp(line, "cat /pack/", 10)) {
        char text[100] = "";
        FILE *file = fopen(line + 4, "r");
        if (file && fgets(text, sizeof(text), file))
            say(text);
        say("\r\n");
    } else if (!strcmp(line, "cat /tmp/before-migration")) {
        say("test\r\n");
    } else if (!strncmp(line, "for ", 4)) {
        samples_left = 7;
        next_sample = now();
        return;
    } else if (!strcmp(line, "exit")) {
        exit(3);
    } else if (!strcmp(line, "crash")) {
        __builtin_trap();
    }
    say(PROMPT);
}

static void sample(void)
{
    char text[40];
    if (!samples_left || now() < next_sample)
        return;
    snprintf(text, sizeof(text), "t=%.2f\r\n", now());
    say(text);
    next_sample += 2;
    if (!--samples_left)
        say(PROMPT);
}

int main(int argc, char **argv)
{
    char line[200];
    size_t length = 0;
    struct termios raw;
    pthread_t thread;

    tcgetattr(0, &raw);
    raw.c_iflag &= ~(ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_oflag &= ~OPOST;
    raw.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
    tcsetattr(0, TCSANOW, &raw);
    pipe(ticks);
    pthread_create(&thread, NULL, tick, NULL);

    if (argc < 2 || strcmp(argv[argc - 2], "-incoming"))
        say("SeaBIOS\r\nLinux version 6.12\r\n" PROMPT);
    for (;;) {
        struct pollfd fds[] = {{0, POLLIN, 0}, {ticks[0], POLLIN, 0}};
        char byte;
        poll(fds, 2, 5000);
        if (fds[1].revents & POLLIN) {
            read(ticks[0], &byte, 1);
            sample();
        }
        if (!(fds[0].revents & POLLIN) || read(0, &byte, 1) != 1)
            continue;
        if (byte == '\r' || byte == '\n') {
            say("\r\n");
            line[length] = 0;
            length = 0;
            run(line);
        } else if (length < sizeof(line) - 1) {
            write(1, &byte, 1);
            line[length++] = byte;
        }
    }
}
