/* What both ends of the load agree on, and what they do alike. */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

enum { BLOCK = 128 << 10, MESSAGE = 64 << 10, EVENTS = 256 };
#define MILLION UINT64_C(1000000)

enum op { UP, DOWN, ECHO, ONCE, IDLE, UDP, FLOWS, FLOOD, COUNT };

struct hello { uint32_t op, size, ms; };
struct datagram { uint32_t op, stream; uint64_t number; };
struct tally { uint32_t op, stream; uint64_t arrived, wrong; };

/* One connection or datagram socket; `number` counts blocks or messages, `have` the bytes of the current one. */
struct conn {
	int fd;
	bool accepted, greeted, last, sent, finished;
	struct hello hello;
	uint64_t number, began, deadline;
	size_t have;
	unsigned char *buffer;
};

_Noreturn void die(const char *format, ...);
uint64_t now(void);	/* nanoseconds */
void fill_pattern(void);
const unsigned char *window(uint64_t number);
void *room(size_t size);
bool again(ssize_t result);
void open_epoll(void);
void watch(struct conn *conn, uint32_t events, int how);
int wait_for(struct epoll_event *events, int milliseconds);
bool send_block(struct conn *conn, bool over);
bool receive(struct conn *conn, size_t size, bool *end);
bool receive_block(struct conn *conn);
void send_all(struct conn *conn, const void *bytes, size_t size);
void set_nodelay(int fd);
void widen(int fd);
_Noreturn void serve(uint16_t port);

#endif
