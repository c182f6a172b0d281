/*
 * Load for a data plane, and the server it is put on: one thread and one epoll each, every byte checked.
 *
 *   load serve PORT                       TCP and UDP, until killed
 *   load MODE IP PORT [CONNS [MS [SIZE [RATE]]]]
 *
 * up, down      bulk for MS milliseconds over CONNS streams
 * echo          CONNS connections, each with one message of SIZE bytes under way
 * once          connect, one message there and back, the server closes; CONNS at a time
 * idle          CONNS connections after a message each, kept until end of input
 * udp           as echo, from CONNS sockets; a datagram unanswered for LOST milliseconds is lost
 * flows         as udp, each datagram from a source port of its own
 * flood         RATE datagrams a second one way, and how many arrived
 *
 * A client prints one line of JSON. Bulk is a series of blocks that begin with their number, whose highest bit says
 * that there are no more; what follows the number is a window of one random pattern, placed by the number.
 * A wrong byte ends the program with status 1 and a sentence.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 128 << 10, MESSAGE = 64 << 10, WINDOW = 256, EVENTS = 256, OPENING = 64, LOST = 250 };
enum { BACKLOG = 4096, DATAGRAM_BUFFER = 4 << 20, SETTLE = 100, PORTS = 1024 };
#define LAST (UINT64_C(1) << 63)
#define MILLION UINT64_C(1000000)

enum op { UP, DOWN, ECHO, ONCE, IDLE, UDP, FLOWS, FLOOD, COUNT, OPS };
static const char *const NAMES[] = {"up", "down", "echo", "once", "idle", "udp", "flows", "flood", "count"};

struct hello { uint32_t op, size, ms, zero; };
struct datagram { uint32_t op, stream; uint64_t number; };
struct tally { uint32_t op, stream; uint64_t arrived, wrong; };

/* One connection or datagram socket; `number` counts blocks or messages, `have` the bytes of the current one. */
struct conn {
	int fd;
	bool greeted, finished;
	struct hello hello;
	uint64_t number, began, deadline;
	size_t have;
	unsigned char *buffer;
};

static unsigned char pattern[BLOCK + WINDOW];
static int ep;

/* ---- what both ends have in common ---- */

static void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

static uint64_t now(void)	/* nanoseconds */
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 * MILLION + (uint64_t)time.tv_nsec;
}

static void fill_pattern(void)
{
	uint32_t state = 2463534242;	/* xorshift32 with the seed of Marsaglia's paper */

	for (size_t at = 0; at < sizeof pattern; at++) {
		state ^= state << 13;
		state ^= state >> 17;
		state ^= state << 5;
		pattern[at] = (unsigned char)state;
	}
}

static const unsigned char *window(uint64_t number)
{
	return pattern + number % WINDOW;
}

static bool again(ssize_t result)
{
	return result < 0 && (errno == EAGAIN || errno == EINTR);
}

static void watch(struct conn *conn, uint32_t events, int how)
{
	struct epoll_event event = {.events = events, .data.ptr = conn};

	if (epoll_ctl(ep, how, conn->fd, &event))
		die("epoll_ctl: %s", strerror(errno));
}

/* Send what fits of the current block; whether it has all gone. */
static bool send_block(struct conn *conn, bool last)
{
	uint64_t header = conn->number | (last ? LAST : 0);
	size_t skip = conn->have < sizeof header ? conn->have : sizeof header;
	struct iovec parts[] = {
		{(char *)&header + skip, sizeof header - skip},
		{(void *)(window(conn->number) + (conn->have - skip)), BLOCK - sizeof header - (conn->have - skip)},
	};
	ssize_t sent = writev(conn->fd, parts, 2);

	if (again(sent))
		return false;
	if (sent < 0)
		die("sending: %s", strerror(errno));
	conn->have += (size_t)sent;
	if (conn->have < BLOCK)
		return false;
	conn->have = 0;
	conn->number++;
	return true;
}

/* Receive up to `size` bytes of the current block or message; whether it is complete, 0 bytes being the end. */
static bool receive(struct conn *conn, size_t size, bool *end)
{
	ssize_t got = recv(conn->fd, conn->buffer + conn->have, size - conn->have, 0);

	*end = got == 0 || (got < 0 && !again(got));
	if (got > 0)
		conn->have += (size_t)got;
	if (conn->have < size)
		return false;
	conn->have = 0;
	return true;
}

/* Take in what is there of a block; whether it was the last. */
static bool receive_block(struct conn *conn)
{
	uint64_t header;
	bool end;

	if (!receive(conn, BLOCK, &end)) {
		if (end)
			die("a stream ended in block %llu", (unsigned long long)conn->number);
		return false;
	}
	memcpy(&header, conn->buffer, sizeof header);
	if ((header & ~LAST) != conn->number)
		die("block %llu came as %llu", (unsigned long long)conn->number, (unsigned long long)header);
	if (memcmp(conn->buffer + sizeof header, window(conn->number), BLOCK - sizeof header))
		die("wrong bytes in block %llu", (unsigned long long)conn->number);
	conn->number++;
	return header & LAST;
}

static void send_all(struct conn *conn, const void *bytes, size_t size)
{
	ssize_t sent = send(conn->fd, bytes, size, MSG_NOSIGNAL);

	if (sent != (ssize_t)size)
		die("sending: %s", sent < 0 ? strerror(errno) : "short of room");
}

static void set_nodelay(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static void widen(int fd)
{
	int size = DATAGRAM_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

/* ---- the server ---- */

static struct tally tally;

static int bound(int kind, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){kind == SOCK_STREAM}, sizeof(int));
	if (bind(fd, (struct sockaddr *)&address, sizeof address))
		die("port %u: %s", port, strerror(errno));
	return fd;
}

static void forget(struct conn *conn)
{
	close(conn->fd);
	free(conn->buffer);
	free(conn);
}

static void admit(int listener)
{
	for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
		struct conn *conn = calloc(1, sizeof *conn);

		conn->fd = fd;
		set_nodelay(fd);
		watch(conn, EPOLLIN, EPOLL_CTL_ADD);
	}
}

static void count_datagram(const unsigned char *bytes, ssize_t size)
{
	struct datagram head;

	memcpy(&head, bytes, sizeof head);
	if (head.stream != tally.stream)
		tally = (struct tally){.op = COUNT, .stream = head.stream};
	tally.arrived++;
	tally.wrong += !!memcmp(bytes + sizeof head, window(head.number), (size_t)size - sizeof head);
}

static void answer_datagrams(int fd)
{
	static unsigned char bytes[MESSAGE];
	struct sockaddr_in from;
	socklen_t length = sizeof from;
	ssize_t size;

	while ((size = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length)) > 0) {
		uint32_t op = *(uint32_t *)bytes;

		if (op == FLOOD)
			count_datagram(bytes, size);
		else if (op == COUNT)
			sendto(fd, &tally, sizeof tally, 0, (struct sockaddr *)&from, length);
		else
			sendto(fd, bytes, (size_t)size, 0, (struct sockaddr *)&from, length);
	}
}

/* Whether the client has said what it wants. */
static bool greet(struct conn *conn)
{
	ssize_t got = recv(conn->fd, (char *)&conn->hello + conn->have, sizeof conn->hello - conn->have, 0);

	conn->finished = got == 0 || (got < 0 && !again(got));
	conn->have += got > 0 ? (size_t)got : 0;
	if (conn->have < sizeof conn->hello)
		return false;
	conn->have = 0;
	conn->greeted = true;
	conn->buffer = conn->hello.op == DOWN ? NULL : malloc(conn->hello.op == UP ? BLOCK : conn->hello.size);
	conn->deadline = now() + conn->hello.ms * MILLION;
	if (conn->hello.op == DOWN)
		watch(conn, EPOLLOUT, EPOLL_CTL_MOD);
	return true;
}

static void answer(struct conn *conn)
{
	bool end = false, last;

	switch (conn->hello.op) {
	case UP:
		if (receive_block(conn)) {
			send_all(conn, &conn->number, sizeof conn->number);
			conn->finished = true;
		}
		break;
	case DOWN:
		last = conn->deadline <= now() && !conn->have;
		last = last || conn->began;	/* a last block that went in parts */
		conn->began = last;
		conn->finished = send_block(conn, last) && last;
		break;
	default:
		if (receive(conn, conn->hello.size, &end)) {
			send_all(conn, conn->buffer, conn->hello.size);
			end = conn->hello.op == ONCE;
		}
		conn->finished = end;
	}
}

static void serve(uint16_t port)
{
	struct conn listener = {.fd = bound(SOCK_STREAM, port)}, datagrams = {.fd = bound(SOCK_DGRAM, port)};
	struct epoll_event events[EVENTS];

	widen(datagrams.fd);
	listen(listener.fd, BACKLOG);
	watch(&listener, EPOLLIN, EPOLL_CTL_ADD);
	watch(&datagrams, EPOLLIN, EPOLL_CTL_ADD);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(ep, events, EVENTS, -1);

		for (int at = 0; at < count; at++) {
			struct conn *conn = events[at].data.ptr;

			if (conn == &listener)
				admit(listener.fd);
			else if (conn == &datagrams)
				answer_datagrams(datagrams.fd);
			else if (conn->greeted || greet(conn))
				answer(conn);
			if (conn->finished)
				forget(conn);
		}
	}
}

/* ---- the client ---- */

static struct {
	enum op op;
	struct sockaddr_in to;
	size_t conns, size, rate;
	uint64_t ms, began, deadline, ended;
	size_t open, ready, running;
	uint64_t bytes, done, lost, failed, arrived, sent;
	uint32_t *waits;	/* nanoseconds of each message */
	size_t room;
	uint16_t port;
} run;

static void record(uint64_t began)
{
	uint64_t waited = now() - began;

	if (run.done == run.room) {
		run.room = run.room ? 2 * run.room : 1 << 16;
		run.waits = realloc(run.waits, run.room * sizeof *run.waits);
	}
	run.waits[run.done++] = waited > UINT32_MAX ? UINT32_MAX : (uint32_t)waited;
}

static bool over(void)
{
	return now() >= run.deadline;
}

static void finish(struct conn *conn)
{
	close(conn->fd);
	conn->finished = true;
	run.running--;
}

static void open_stream(struct conn *conn)
{
	conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		die("socket: %s", strerror(errno));
	set_nodelay(conn->fd);
	conn->greeted = false;
	conn->number = conn->have = 0;
	conn->began = now();
	if (connect(conn->fd, (struct sockaddr *)&run.to, sizeof run.to) && errno != EINPROGRESS)
		die("connecting: %s", strerror(errno));
	watch(conn, EPOLLOUT, EPOLL_CTL_ADD);
}

static void ask(struct conn *conn)
{
	send_all(conn, window(conn->number), run.size);
}

/* The connection is there: say what is wanted. */
static void introduce(struct conn *conn)
{
	struct hello hello = {run.op == IDLE ? ECHO : run.op, (uint32_t)run.size, (uint32_t)run.ms, 0};
	int error = 0;

	getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
	if (error)
		die("connecting: %s", strerror(error));
	conn->greeted = true;
	if (run.op != ONCE)
		conn->began = now();
	send_all(conn, &hello, sizeof hello);
	if (run.op != UP)
		watch(conn, EPOLLIN, EPOLL_CTL_MOD);
	if (run.op == ECHO || run.op == ONCE || run.op == IDLE)
		ask(conn);
}

static void check(struct conn *conn)
{
	if (memcmp(conn->buffer, window(conn->number), run.size))
		die("wrong bytes in message %llu", (unsigned long long)conn->number);
	conn->number++;
	run.bytes += 2 * run.size;
}

static void upload(struct conn *conn)
{
	bool last = conn->deadline || (!conn->have && over()), end;

	if (conn->deadline == LAST) {	/* all is sent */
		if (receive(conn, sizeof conn->number, &end)) {
			if (memcmp(conn->buffer, &conn->number, sizeof conn->number))
				die("the server counts other blocks than were sent");
			run.bytes += conn->number * BLOCK;
			finish(conn);
		} else if (end) {
			die("an upload ended without an answer");
		}
		return;
	}
	conn->deadline = last;
	if (send_block(conn, last) && last) {
		conn->deadline = LAST;
		watch(conn, EPOLLIN, EPOLL_CTL_MOD);
	}
}

static void download(struct conn *conn)
{
	if (receive_block(conn)) {
		run.bytes += conn->number * BLOCK;
		finish(conn);
	}
}

static void converse(struct conn *conn)
{
	bool end;

	if (!receive(conn, run.size, &end)) {
		if (end)
			die("a connection ended after %llu messages", (unsigned long long)conn->number);
		return;
	}
	check(conn);
	record(conn->began);
	if (run.op == IDLE) {
		run.ready++;
	} else if (over()) {
		finish(conn);
	} else {
		conn->began = now();
		ask(conn);
	}
}

/* One message, then the server's end of the stream, then the next connection. */
static void visit(struct conn *conn)
{
	bool end;

	if (receive(conn, run.size + 1, &end))
		die("more bytes came than were sent");
	if (!end)
		return;
	if (conn->have == run.size) {
		check(conn);
		record(conn->began);
	} else {
		run.failed++;
	}
	close(conn->fd);
	conn->fd = -1;
	if (over()) {
		conn->finished = true;
		run.running--;
	} else {
		open_stream(conn);
	}
}

static void open_socket(struct conn *conn)
{
	struct sockaddr_in from = {.sin_family = AF_INET};

	conn->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		die("socket: %s", strerror(errno));
	widen(conn->fd);
	do {
		run.port = run.port == UINT16_MAX ? PORTS : run.port + 1;
		from.sin_port = htons(run.port);
	} while (bind(conn->fd, (struct sockaddr *)&from, sizeof from));
	if (connect(conn->fd, (struct sockaddr *)&run.to, sizeof run.to))
		die("connecting: %s", strerror(errno));
	watch(conn, EPOLLIN, EPOLL_CTL_ADD);
}

static void send_datagram(struct conn *conn, enum op op, uint32_t stream)
{
	static unsigned char bytes[MESSAGE];
	struct datagram head = {op, stream, conn->number};

	memcpy(bytes, &head, sizeof head);
	memcpy(bytes + sizeof head, window(conn->number), run.size - sizeof head);
	conn->began = now();
	if (send(conn->fd, bytes, run.size, 0) < 0 && errno != EAGAIN && errno != ENOBUFS)
		die("sending a datagram: %s", strerror(errno));
	run.sent++;
}

static void next_datagram(struct conn *conn)
{
	if (over()) {
		finish(conn);
		return;
	}
	if (run.op == FLOWS) {
		close(conn->fd);
		open_socket(conn);
	}
	conn->number++;
	send_datagram(conn, UDP, 0);
}

static void hear(struct conn *conn)
{
	struct datagram head;
	ssize_t size = recv(conn->fd, conn->buffer, MESSAGE, 0);

	if (size < 0)
		return;
	memcpy(&head, conn->buffer, sizeof head);
	if (head.number != conn->number)
		return;	/* an answer to what was given up as lost */
	if (size != (ssize_t)run.size ||
	    memcmp(conn->buffer + sizeof head, window(conn->number), run.size - sizeof head))
		die("wrong bytes in datagram %llu", (unsigned long long)conn->number);
	record(conn->began);
	run.bytes += 2 * run.size;
	next_datagram(conn);
}

static void give_up_late(struct conn *conns)
{
	for (size_t at = 0; at < run.open; at++) {
		if (conns[at].finished || now() - conns[at].began < LOST * MILLION)
			continue;
		run.lost++;
		next_datagram(&conns[at]);
	}
}

static void pause_until(uint64_t when)
{
	struct timespec time = {(time_t)(when / 1000 / MILLION), (long)(when % (1000 * MILLION))};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* Ask what has arrived until an answer comes. */
static void count_arrived(struct conn *conn, uint32_t stream)
{
	struct tally answer;

	for (int tries = 0; tries < 50; tries++) {
		pause_until(now() + SETTLE * MILLION);
		send_datagram(conn, COUNT, stream);
		pause_until(now() + SETTLE * MILLION);
		while (recv(conn->fd, &answer, sizeof answer, 0) == sizeof answer) {
			if (answer.op != COUNT || answer.stream != stream)
				continue;
			if (answer.wrong)
				die("wrong bytes in %llu datagrams", (unsigned long long)answer.wrong);
			run.arrived = answer.arrived;
			return;
		}
	}
	die("nobody says how many datagrams arrived");
}

static void flood(struct conn *conn)
{
	uint32_t stream = (uint32_t)now() | 1;

	open_socket(conn);
	run.began = now();
	for (uint64_t time; (time = now()) < run.began + run.ms * MILLION; pause_until(time + MILLION))
		while (run.sent < (time - run.began) * run.rate / (1000 * MILLION)) {
			conn->number = run.sent;
			send_datagram(conn, FLOOD, stream);
		}
	run.ended = now();
	run.done = run.sent;
	count_arrived(conn, stream);
	run.lost = run.done - run.arrived;
	run.bytes = run.arrived * run.size;
	run.done = 0;	/* no waits were taken */
}

static void begin(struct conn *conn)
{
	conn->buffer = malloc(run.op <= DOWN ? BLOCK : MESSAGE);
	run.running++;
	if (run.op < UDP) {
		open_stream(conn);
		return;
	}
	open_socket(conn);
	send_datagram(conn, UDP, 0);
}

static void ready(struct conn *conn)
{
	static void (*const work[])(struct conn *) = {upload, download, converse, visit, converse, hear, hear};

	if (run.op < UDP && !conn->greeted)
		introduce(conn);
	else
		work[run.op](conn);
}

static void turn(struct conn *conns)
{
	struct epoll_event events[EVENTS];
	int count;

	while (run.open < run.conns && (run.op != IDLE || run.open - run.ready < OPENING))
		begin(&conns[run.open++]);
	count = epoll_wait(ep, events, EVENTS, run.op >= UDP ? LOST / 4 : -1);
	for (int at = 0; at < count; at++)
		ready(events[at].data.ptr);
	if (run.op == UDP || run.op == FLOWS)
		give_up_late(conns);
}

static void drive(struct conn *conns)
{
	char byte;

	run.began = now();
	run.deadline = run.began + run.ms * MILLION;
	if (run.op == FLOOD) {
		flood(conns);
		return;
	}
	do
		turn(conns);
	while (run.running && (run.op != IDLE || run.ready < run.conns));
	run.ended = now();
	if (run.op == IDLE) {
		puts("ready");
		fflush(stdout);
		while (read(STDIN_FILENO, &byte, 1) > 0)
			;
	}
}

static int ascending(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return (a > b) - (a < b);
}

static double quantile(double share)	/* microseconds */
{
	return run.done ? run.waits[(size_t)(share * (double)(run.done - 1))] / 1e3 : 0;
}

static void report(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	qsort(run.waits, run.done, sizeof *run.waits, ascending);
	printf("{\"seconds\": %.6f, \"bytes\": %llu, \"requests\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, ",
	       (double)(run.ended - run.began) / 1e9, (unsigned long long)run.bytes, (unsigned long long)run.done,
	       quantile(.5), quantile(.99));
	printf("\"sent\": %llu, \"lost\": %llu, \"failed\": %llu, \"cpu\": %.3f}\n", (unsigned long long)run.sent,
	       (unsigned long long)run.lost, (unsigned long long)run.failed,
	       (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
	       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
}

static size_t number(char **arguments, int count, int at, size_t otherwise)
{
	return at < count ? strtoul(arguments[at], NULL, 10) : otherwise;
}

int main(int count, char **arguments)
{
	size_t op = 0;

	if (count < 3)
		die("load serve PORT, or load MODE IP PORT [CONNS [MS [SIZE [RATE]]]]");
	ep = epoll_create1(EPOLL_CLOEXEC);
	fill_pattern();
	if (!strcmp(arguments[1], "serve"))
		serve((uint16_t)number(arguments, count, 2, 0));
	while (op < COUNT && strcmp(arguments[1], NAMES[op]))
		op++;
	run.op = op;
	run.to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)number(arguments, count, 3, 0))};
	if (op == COUNT || inet_pton(AF_INET, arguments[2], &run.to.sin_addr) != 1)
		die("no such mode or address: %s %s", arguments[1], arguments[2]);
	run.conns = number(arguments, count, 4, 1);
	run.ms = number(arguments, count, 5, 500);
	run.size = number(arguments, count, 6, 64);
	run.rate = number(arguments, count, 7, 0);
	run.port = (uint16_t)(PORTS + now() / 1000 % (UINT16_MAX - PORTS));
	if (run.size < sizeof(struct datagram) || run.size > MESSAGE - 1 || !run.conns)
		die("messages have %zu to %d bytes, and somebody sends them", sizeof(struct datagram), MESSAGE - 1);
	drive(calloc(run.conns, sizeof(struct conn)));
	report();
	return 0;
}
