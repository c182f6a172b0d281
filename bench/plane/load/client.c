/* What all of the client keeps account of. */
#define _GNU_SOURCE
#include "client.h"

#include <stdlib.h>
#include <unistd.h>

struct run run;

void record(uint64_t began)
{
	uint64_t waited = now() - began;

	if (run.done == run.kept) {
		run.kept = run.kept ? 2 * run.kept : 1 << 16;
		run.waits = realloc(run.waits, run.kept * sizeof *run.waits);
	}
	run.waits[run.done++] = waited > UINT32_MAX ? UINT32_MAX : (uint32_t)waited;
}

bool over(void)
{
	return now() >= run.deadline;
}

void finish(struct conn *conn)
{
	close(conn->fd);
	conn->finished = true;
	run.running--;
}
