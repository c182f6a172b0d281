/* The server: echoes, takes in and sends what its clients ask for, and counts datagrams. */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

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
		struct conn *conn = room(sizeof *conn);

		conn->fd = fd;
		conn->accepted = true;
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
	conn->buffer = room(conn->hello.op == UP ? BLOCK : conn->hello.size);
	conn->deadline = now() + conn->hello.ms * MILLION;
	if (conn->hello.op == DOWN)
		watch(conn, EPOLLOUT, EPOLL_CTL_MOD);
	return true;
}

static void answer(struct conn *conn)
{
	bool end = false;

	switch (conn->hello.op) {
	case UP:
		if (receive_block(conn)) {
			send_all(conn, &conn->number, sizeof conn->number);
			conn->finished = true;
		}
		break;
	case DOWN:
		conn->finished |= send_block(conn, conn->deadline <= now());
		break;
	default:
		if (receive(conn, conn->hello.size, &end)) {
			send_all(conn, conn->buffer, conn->hello.size);
			end = conn->hello.op == ONCE;
		}
		conn->finished |= end;
	}
}

_Noreturn void serve(uint16_t port)
{
	struct conn listener = {.fd = bound(SOCK_STREAM, port)}, datagrams = {.fd = bound(SOCK_DGRAM, port)};
	struct epoll_event events[EVENTS];

	signal(SIGPIPE, SIG_IGN);
	widen(datagrams.fd);
	listen(listener.fd, BACKLOG);
	watch(&listener, EPOLLIN, EPOLL_CTL_ADD);
	watch(&datagrams, EPOLLIN, EPOLL_CTL_ADD);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int count = wait_for(events, -1);

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
