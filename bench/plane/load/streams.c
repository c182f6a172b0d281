/* The client's streams: bulk, conversations, and visits of one message. */
#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void open_stream(struct conn *conn)
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
	struct hello hello = {run.op == IDLE ? ECHO : run.op, (uint32_t)run.size, (uint32_t)run.ms};
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
	bool end = false;

	if (!conn->sent) {
		conn->sent = send_block(conn, over());
		if (conn->sent)
			watch(conn, EPOLLIN, EPOLL_CTL_MOD);
	} else if (receive(conn, sizeof conn->number, &end)) {
		if (memcmp(conn->buffer, &conn->number, sizeof conn->number))
			die("the server counts other blocks than were sent");
		run.bytes += conn->number * BLOCK;
		finish(conn);
	} else if (end) {
		die("an upload ended without an answer");
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

void work_stream(struct conn *conn)
{
	static void (*const work[])(struct conn *) = {upload, download, converse, visit, converse};

	if (conn->greeted)
		work[run.op](conn);
	else
		introduce(conn);
}
