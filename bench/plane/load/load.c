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
 * A wrong byte ends either with status 1 and a sentence, and so does a broken connection its client.
 */
#define _GNU_SOURCE
#include "client.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { OPENING = 64, PATIENCE = 50 };	/* connections under way, milliseconds */
static const char *const NAMES[] = {"up", "down", "echo", "once", "idle", "udp", "flows", "flood"};

static void begin(struct conn *conn)
{
	conn->buffer = room(run.op <= DOWN ? BLOCK : MESSAGE);
	run.running++;
	if (run.op < UDP)
		open_stream(conn);
	else
		open_datagrams(conn);
}

static void turn(struct conn *conns)
{
	struct epoll_event events[EVENTS];
	int count;

	while (run.open < run.conns && (run.op != IDLE || run.open - run.ready < OPENING))
		begin(&conns[run.open++]);
	count = wait_for(events, run.op < UDP ? -1 : PATIENCE);
	for (int at = 0; at < count; at++)
		(run.op < UDP ? work_stream : hear)(events[at].data.ptr);
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
	open_epoll();
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
	run.port = (uint16_t)(now() / 1000);
	if (run.size < sizeof(struct datagram) || run.size > MESSAGE - 1 || !run.conns)
		die("messages have %zu to %d bytes, and somebody sends them", sizeof(struct datagram), MESSAGE - 1);
	drive(room(run.conns * sizeof(struct conn)));
	report();
	return 0;
}
