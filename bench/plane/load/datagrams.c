/* The client's datagrams: questions with answers, flows of one question each, and a flood. */
#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LOST = 250, SETTLE = 100, TRIES = 50, PORTS = 1024 };	/* milliseconds, and the first port of a user's */

static void open_socket(struct conn *conn)
{
	struct sockaddr_in from = {.sin_family = AF_INET};

	conn->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		die("socket: %s", strerror(errno));
	widen(conn->fd);
	do {
		run.port = run.port < PORTS || run.port == UINT16_MAX ? PORTS : run.port + 1;
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

void hear(struct conn *conn)
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

void give_up_late(struct conn *conns)
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

	for (int tries = 0; tries < TRIES; tries++) {
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

void flood(struct conn *conn)
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

void open_datagrams(struct conn *conn)
{
	open_socket(conn);
	send_datagram(conn, UDP, 0);
}
