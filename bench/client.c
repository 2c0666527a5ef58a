/* The kernel's side of a measurement: blocking sockets where one is enough, epoll where not, CUBIC.

   client send|receive|both HOST PORT SECONDS CONNECTIONS
   client lines HOST PORT SECONDS CONNECTIONS
   client echo HOST PORT CONNECTIONS

   send, receive, both: bulk, for so long; send and both go on until the peer, told by our FIN, has
   taken everything and closed. Prints {"open": connections} when these are open and its clock
   starts, and {"count": bytes, "seconds": s, "cpu_s": s} in the end.
   lines: connect, send a line, take the same line and the peer's FIN, close; so many at a time.
   Prints the number of connections in the same way.
   echo: opens the connections and prints how many; then takes commands, "K SECONDS" a line: messages
   of 64 bytes to the first K of them in turn, the next one sent when the answer to the last has
   come. Prints the number of round trips for each command; ends at the end of its input. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, EVENTS = 256, TURNS = 4, MESSAGE = 64, GUARD_S = 60 };

static const char LINE[] = "one line, as short as most of them are\n";
static char block[BLOCK];
static struct addrinfo *peer;

static void fail(const char *what) {
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void report(unsigned long long count, double began) {
    printf("{\"count\": %llu, \"seconds\": %.6f, \"cpu_s\": %.6f}\n", count,
           now(CLOCK_MONOTONIC) - began, now(CLOCK_PROCESS_CPUTIME_ID));
    fflush(stdout);
}

static double opened(int connections) {
    printf("{\"open\": %d}\n", connections);
    fflush(stdout);
    return now(CLOCK_MONOTONIC);
}

static int new_socket(int flags) {
    int fd = socket(peer->ai_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), on = 1;
    if (fd < 0)
        fail("socket");
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5))
        fail("TCP_CONGESTION cubic");
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
        fail("TCP_NODELAY");
    return fd;
}

static int connected(void) {
    int fd = new_socket(0);
    if (connect(fd, peer->ai_addr, peer->ai_addrlen))
        fail("connect");
    return fd;
}

static int new_epoll(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        fail("epoll_create1");
    return fd;
}

static void watch(int epoll, int op, int fd, unsigned events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, op, fd, &event))
        fail("epoll_ctl");
}

/* Bulk */

static unsigned long long bulk_one_way(int sending, double seconds, double *began) {
    unsigned long long count = 0;
    int fd = connected();
    ssize_t moved;
    *began = opened(1);
    while (now(CLOCK_MONOTONIC) < *began + seconds) {
        moved = sending ? send(fd, block, BLOCK, 0) : recv(fd, block, BLOCK, 0);
        if (moved < 0)
            fail(sending ? "send" : "recv");
        if (moved == 0)
            break;
        count += moved;
    }
    if (sending) {
        shutdown(fd, SHUT_WR);
        while ((moved = recv(fd, block, BLOCK, 0)) > 0)
            ;
        if (moved < 0)
            fail("recv");
    }
    return count;
}

static unsigned long long bulk(int sending, int receiving, double seconds, int connections,
                               double *began) {
    unsigned long long count = 0;
    int epoll = new_epoll(), open = connections, over = 0;
    unsigned wanted = (sending ? EPOLLOUT : 0) | EPOLLIN;
    int *fds = calloc(connections, sizeof *fds);
    struct epoll_event events[EVENTS];
    for (int i = 0; i < connections; i++) {
        fds[i] = connected();
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        watch(epoll, EPOLL_CTL_ADD, fds[i], wanted);
    }
    for (int i = 0; i < connections && !sending; i++) /* they have been sent to since the first */
        recv(fds[i], block, BLOCK, 0);
    *began = opened(connections);
    double until = *began + seconds;
    while (open) {
        if (!over && now(CLOCK_MONOTONIC) >= until) {
            over = 1;
            if (!sending)
                break;
            for (int i = 0; i < connections; i++) {
                shutdown(fds[i], SHUT_WR);
                watch(epoll, EPOLL_CTL_MOD, fds[i], EPOLLIN);
            }
        }
        int ready = epoll_wait(epoll, events, EVENTS, 100);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            ssize_t moved = 0;
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                for (int turn = 0; turn < TURNS && (moved = recv(fd, block, BLOCK, 0)) > 0; turn++)
                    if (receiving)
                        count += moved;
                if (moved < 0 && errno != EAGAIN)
                    fail("recv");
                if (moved == 0) {
                    watch(epoll, EPOLL_CTL_DEL, fd, 0);
                    open--;
                    continue;
                }
            }
            if (!over && events[i].events & EPOLLOUT) {
                for (int turn = 0; turn < TURNS && (moved = send(fd, block, BLOCK, 0)) > 0; turn++)
                    count += moved;
                if (moved < 0 && errno != EAGAIN)
                    fail("send");
            }
        }
    }
    return count;
}

/* Connections */

static void check_line(const char *got, ssize_t length) {
    if (length != sizeof LINE - 1 || memcmp(got, LINE, length)) {
        fprintf(stderr, "client: another line came back than was sent (%zd bytes)\n", length);
        exit(1);
    }
}

static unsigned long long lines_in_turn(double until) {
    unsigned long long count = 0;
    char got[256];
    for (; now(CLOCK_MONOTONIC) < until; count++) {
        int fd = connected();
        ssize_t length = 0, more;
        if (send(fd, LINE, sizeof LINE - 1, 0) < 0)
            fail("send");
        while ((more = recv(fd, got + length, sizeof got - length, 0)) > 0)
            length += more;
        if (more < 0)
            fail("recv");
        check_line(got, length);
        close(fd);
    }
    return count;
}

static void begin(int epoll) {
    int fd = new_socket(SOCK_NONBLOCK);
    if (connect(fd, peer->ai_addr, peer->ai_addrlen) && errno != EINPROGRESS)
        fail("connect");
    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLOUT);
}

static unsigned long long lines_at_once(double until, int connections) {
    unsigned long long count = 0;
    int epoll = new_epoll(), open = connections;
    size_t many = 65536; /* descriptors, at most */
    struct { ssize_t length; char line[120]; } *got = calloc(many, sizeof *got);
    struct epoll_event events[EVENTS];
    for (int i = 0; i < connections; i++)
        begin(epoll);
    while (open) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (events[i].events & EPOLLOUT) {
                if (send(fd, LINE, sizeof LINE - 1, 0) < 0)
                    fail("connect, or send");
                got[fd].length = 0;
                watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN);
                continue;
            }
            ssize_t more = recv(fd, got[fd].line + got[fd].length,
                                sizeof got[fd].line - got[fd].length, 0);
            if (more < 0 && errno != EAGAIN)
                fail("recv");
            if (more > 0)
                got[fd].length += more;
            if (more == 0) {
                check_line(got[fd].line, got[fd].length);
                close(fd);
                count++;
                if (now(CLOCK_MONOTONIC) < until)
                    begin(epoll);
                else
                    open--;
            }
        }
    }
    return count;
}

/* Round trips */

static void round_trip(int fd, unsigned number) {
    char sent[MESSAGE], got[MESSAGE];
    ssize_t length = 0, more;
    memset(sent, number & 0x7f, sizeof sent);
    if (send(fd, sent, sizeof sent, 0) != sizeof sent)
        fail("send");
    for (; length < MESSAGE; length += more)
        if ((more = recv(fd, got + length, MESSAGE - length, 0)) <= 0)
            fail(more ? "recv" : "the peer closed");
    if (memcmp(sent, got, MESSAGE)) {
        fprintf(stderr, "client: something else came back than was sent\n");
        exit(1);
    }
}

static void echo(int connections) {
    struct rlimit files = {connections + 64, connections + 64};
    int *fds = calloc(connections, sizeof *fds), used;
    double seconds, began = now(CLOCK_MONOTONIC);
    if (connections > 900 && setrlimit(RLIMIT_NOFILE, &files))
        fail("RLIMIT_NOFILE");
    for (int i = 0; i < connections; i++) {
        alarm(GUARD_S);
        fds[i] = connected();
    }
    alarm(0);
    report(connections, began);
    while (scanf("%d %lf", &used, &seconds) == 2 && used > 0 && used <= connections) {
        unsigned long long count = 0;
        alarm(seconds + GUARD_S);
        began = now(CLOCK_MONOTONIC);
        for (; now(CLOCK_MONOTONIC) < began + seconds; count++)
            round_trip(fds[count % used], count);
        alarm(0);
        report(count, began);
    }
}

int main(int argc, char **argv) {
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    if (argc < 5 || (strcmp(argv[1], "echo") && argc < 6)) {
        fprintf(stderr, "usage: client send|receive|both|lines HOST PORT SECONDS CONNECTIONS\n"
                        "       client echo HOST PORT CONNECTIONS\n");
        return 2;
    }
    const char *mode = argv[1];
    if (getaddrinfo(argv[2], argv[3], &hints, &peer)) {
        fprintf(stderr, "client: not a numeric address: %s\n", argv[2]);
        return 2;
    }
    if (!strcmp(mode, "echo")) {
        echo(atoi(argv[4]));
        return 0;
    }
    double seconds = atof(argv[4]), began = now(CLOCK_MONOTONIC);
    int connections = atoi(argv[5]);
    unsigned long long count;
    alarm(seconds + GUARD_S);
    if (!strcmp(mode, "lines"))
        count = connections == 1 ? lines_in_turn(began + seconds)
                                 : lines_at_once(began + seconds, connections);
    else if (connections == 1 && strcmp(mode, "both"))
        count = bulk_one_way(!strcmp(mode, "send"), seconds, &began);
    else
        count = bulk(strcmp(mode, "receive") != 0, strcmp(mode, "send") != 0, seconds, connections,
                     &began);
    report(count, began);
    return 0;
}
