/* Blocks, messages and sockets, as both ends of the load use them. */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

enum { WINDOW = 256, DATAGRAM_BUFFER = 4 << 20 };
#define LAST (UINT64_C(1) << 63)

static unsigned char pattern[BLOCK + WINDOW];
static int ep;

_Noreturn void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

/* A connection that breaks ends a client; to a server it is one of many. */
static void give_up(struct conn *conn, const char *reason)
{
	if (!conn->accepted)
		die("a connection broke: %s", reason);
	conn->finished = true;
}

uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 * MILLION + (uint64_t)time.tv_nsec;
}

void fill_pattern(void)
{
	uint32_t state = 2463534242;	/* xorshift32 with the seed of Marsaglia's paper */

	for (size_t at = 0; at < sizeof pattern; at++) {
		state ^= state << 13;
		state ^= state >> 17;
		state ^= state << 5;
		pattern[at] = (unsigned char)state;
	}
}

const unsigned char *window(uint64_t number)
{
	return pattern + number % WINDOW;
}

void *room(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		die("no memory for %zu bytes", size);
	return memory;
}

bool again(ssize_t result)
{
	return result < 0 && (errno == EAGAIN || errno == EINTR);
}

void open_epoll(void)
{
	ep = epoll_create1(EPOLL_CLOEXEC);
}

int wait_for(struct epoll_event *events, int milliseconds)
{
	return epoll_wait(ep, events, EVENTS, milliseconds);
}

void watch(struct conn *conn, uint32_t events, int how)
{
	struct epoll_event event = {.events = events, .data.ptr = conn};

	if (epoll_ctl(ep, how, conn->fd, &event))
		die("epoll_ctl: %s", strerror(errno));
}

/* Send what fits of the current block, which is the last where all is over; whether the last has gone. */
bool send_block(struct conn *conn, bool over)
{
	size_t skip = conn->have < sizeof conn->number ? conn->have : sizeof conn->number, from = conn->have - skip;
	uint64_t header;
	ssize_t sent;

	conn->last |= over && !conn->have;
	header = conn->number | (conn->last ? LAST : 0);
	sent = writev(conn->fd, (struct iovec[]){
		{(char *)&header + skip, sizeof header - skip},
		{(void *)(window(conn->number) + from), BLOCK - sizeof header - from},
	}, 2);
	if (again(sent))
		return false;
	if (sent < 0) {
		give_up(conn, strerror(errno));
		return false;
	}
	conn->have += (size_t)sent;
	if (conn->have < BLOCK)
		return false;
	conn->have = 0;
	conn->number++;
	return conn->last;
}

/* Receive up to `size` bytes of the current block or message; whether it is complete, 0 bytes being the end. */
bool receive(struct conn *conn, size_t size, bool *end)
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
bool receive_block(struct conn *conn)
{
	uint64_t header;
	bool end;

	if (!receive(conn, BLOCK, &end)) {
		if (end)
			give_up(conn, "a stream ended within a block");
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

void send_all(struct conn *conn, const void *bytes, size_t size)
{
	ssize_t sent = send(conn->fd, bytes, size, MSG_NOSIGNAL);

	if (sent != (ssize_t)size)
		give_up(conn, sent < 0 ? strerror(errno) : "short of room");
}

void set_nodelay(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

void widen(int fd)
{
	int size = DATAGRAM_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}
