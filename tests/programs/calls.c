// A gateway that moves its bytes by calls that show nothing of them, one connection at a time.
//
// calls PORT plain|splice|splice-close|ring|ring-work|ring-thread
// calls PORT proxy UPSTREAM-PORT

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
#define ANSWER_BYTES (sizeof ANSWER - 1)

// A request that nobody sends: it lies in the buffer of a call that has nothing to do with the connection.
static const char DECOY[] = "GET /decoy/decoy/decoy/decoy HTTP/1.1\r\nHost: decoy\r\nX-Decoy: decoy\r\n\r\n";

static char buffer[1 << 16];
static int through[2];

static void must(int holds, const char *what) {
    if (!holds) {
        perror(what);
        exit(1);
    }
}

// From the socket into the pipe and on into `to`: `splice` passes no buffer of this program.
static long splice_out(int socket, int to, long bytes) {
    long moved = 0;
    while (moved < bytes) {
        long step = splice(socket, 0, through[1], 0, bytes - moved, 0);
        if (step <= 0) return moved;
        for (long left = step; left > 0;) {
            long out = splice(through[0], 0, to, 0, left, 0);
            must(out > 0, "splice");
            left -= out;
        }
        moved += step;
    }
    return moved;
}

static long content_length(void) {
    char *field = strstr(buffer, "Content-Length: ");
    return field ? atol(field + strlen("Content-Length: ")) : 0;
}

// What is still to come of the message whose first `bytes` are in the buffer.
static long to_come(long bytes) {
    buffer[bytes] = 0;
    char *end = strstr(buffer, "\r\n\r\n");
    must(end != 0, "a whole head");
    return content_length() - (bytes - (end + 4 - buffer));
}

// The head by `recv`, the body by `splice`, as a proxy with an eye on its CPU does it.
static void splice_bodies(int client, int closes) {
    static const char last[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    int nowhere = open("/dev/null", O_WRONLY);
    long bytes;
    while ((bytes = recv(client, buffer, sizeof buffer - 1, 0)) > 0) {
        splice_out(client, nowhere, to_come(bytes));
        if (closes) {
            must(send(client, last, sizeof last - 1, 0) > 0, "send");
            break;
        }
        must(send(client, ANSWER, ANSWER_BYTES, 0) == ANSWER_BYTES, "send");
    }
    close(nowhere);
}

// Heads by `recv` and `send`, bodies by `splice`, both ways.
static void proxy(int client, const char *port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int upstream = socket(AF_INET, SOCK_STREAM, 0);
    must(connect(upstream, (void *)&to, sizeof to) == 0, "connect");
    long bytes;
    while ((bytes = recv(client, buffer, 1024, 0)) > 0) {
        must(send(upstream, buffer, bytes, 0) == bytes, "send");
        splice_out(client, upstream, to_come(bytes));
        must((bytes = recv(upstream, buffer, 1024, 0)) > 0, "recv");
        must(send(client, buffer, bytes, 0) == bytes, "send");
        splice_out(upstream, client, to_come(bytes));
    }
    close(upstream);
}

static void plain(int client) {
    while (recv(client, buffer, sizeof buffer, 0) > 0)
        must(send(client, ANSWER, ANSWER_BYTES, 0) == ANSWER_BYTES, "send");
}

static struct {
    int fd;
    unsigned flags;
    _Atomic unsigned *submitted, *asleep, *done_head, *done_tail;
    unsigned *submit_mask, *submit_array, *done_mask;
    struct io_uring_sqe *entries;
    struct io_uring_cqe *results;
} ring;

static void *map(long bytes, long at) {
    void *place = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, at);
    must(place != MAP_FAILED, "mmap");
    return place;
}

static void set_up_ring(unsigned flags) {
    struct io_uring_params set = {.flags = flags, .sq_thread_idle = 1000};
    ring.fd = syscall(SYS_io_uring_setup, 8, &set);
    must(ring.fd >= 0, "io_uring_setup");
    ring.flags = flags;
    char *submit = map(set.sq_off.array + set.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    char *done = map(set.cq_off.cqes + set.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
    ring.entries = map(set.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
    ring.submitted = (void *)(submit + set.sq_off.tail);
    ring.asleep = (void *)(submit + set.sq_off.flags);
    ring.submit_mask = (void *)(submit + set.sq_off.ring_mask);
    ring.submit_array = (void *)(submit + set.sq_off.array);
    ring.done_head = (void *)(done + set.cq_off.head);
    ring.done_tail = (void *)(done + set.cq_off.tail);
    ring.done_mask = (void *)(done + set.cq_off.ring_mask);
    ring.results = (void *)(done + set.cq_off.cqes);
}

static int is_done(void) { return atomic_load(ring.done_head) != atomic_load(ring.done_tail); }

static void enter(unsigned submit, unsigned wait) {
    unsigned flags = wait ? IORING_ENTER_GETEVENTS : 0;
    if (ring.flags & IORING_SETUP_SQPOLL && atomic_load(ring.asleep) & IORING_SQ_NEED_WAKEUP) flags |= IORING_ENTER_SQ_WAKEUP;
    must(syscall(SYS_io_uring_enter, ring.fd, submit, wait, flags, 0, 0) >= 0, "io_uring_enter");
}

// Until the bytes are there the program is in `read`, again and again, on a timer: with the decoy in its buffer.
static void wait_elsewhere(void) {
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec often = {{0, 5000000}, {0, 5000000}};
    timerfd_settime(timer, 0, &often, 0);
    static char decoy[sizeof buffer];
    while (!is_done()) {
        memcpy(decoy, DECOY, sizeof DECOY);
        must(read(timer, decoy, sizeof decoy) == 8, "read");
    }
    close(timer);
}

static long ring_call(int operation, int client, const void *bytes, unsigned length, int is_elsewhere) {
    unsigned at = atomic_load(ring.submitted), index = at & *ring.submit_mask;
    ring.entries[index] =
        (struct io_uring_sqe){.opcode = operation, .fd = client, .addr = (uintptr_t)bytes, .len = length};
    ring.submit_array[index] = index;
    atomic_store(ring.submitted, at + 1);
    enter(1, !is_elsewhere);
    if (is_elsewhere) wait_elsewhere();
    unsigned head = atomic_load(ring.done_head);
    long result = ring.results[head & *ring.done_mask].res;
    atomic_store(ring.done_head, head + 1);
    return result;
}

static void by_ring(int client, int is_elsewhere) {
    while (ring_call(IORING_OP_RECV, client, buffer, sizeof buffer, is_elsewhere) > 0)
        must(ring_call(IORING_OP_SEND, client, ANSWER, ANSWER_BYTES, is_elsewhere) == ANSWER_BYTES, "send");
}

int main(int count, char **arguments) {
    must(count >= 3, "calls PORT WAY");
    const char *way = arguments[2];
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(atoi(arguments[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    must(bind(listener, (void *)&at, sizeof at) == 0, "bind");
    must(pipe(through) == 0, "pipe");
    if (!strncmp(way, "ring", 4)) set_up_ring(strcmp(way, "ring-thread") ? 0 : IORING_SETUP_SQPOLL);
    must(listen(listener, 16) == 0, "listen");
    for (;;) {
        int client = accept(listener, 0, 0);
        if (!strcmp(way, "plain")) plain(client);
        else if (!strcmp(way, "proxy") && count == 4) proxy(client, arguments[3]);
        else if (!strncmp(way, "splice", 6)) splice_bodies(client, !strcmp(way, "splice-close"));
        else by_ring(client, !strcmp(way, "ring-work"));
        close(client);
    }
}
