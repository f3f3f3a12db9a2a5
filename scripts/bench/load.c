/* The bench's client: reads many streams at once and times each chunk, or asks one question after another.
 *
 * streams: --connections clients, each with a token of its own, ask for a stream and read it. Once all
 * have had an event and --settle seconds have passed, "begin" is printed, --seconds later "end", each
 * with the number of events seen; then one JSON object with the delays (since the "@nanoseconds@" that an
 * event carries), the gaps between the reads of one stream, and what failed. Streams that end are asked
 * for again.
 * json: one connection, one question after another for --seconds; the same JSON object.
 * connects: as json, with the connection opened anew for each question.
 *
 * --body FILE is what is sent, --path where, --gap the longest gap in microseconds that is none. Each
 * --header "Name: value" goes with every request.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define IN_BYTES (64 * 1024)
#define MOST_SAMPLES (8 * 1000 * 1000)

typedef long long ns;

typedef struct {
	int fd, first, over, number, begun;
	ns asked, last;
	char *out;
	size_t out_len, out_sent;
	char in[IN_BYTES];
	size_t in_len;
	ns longest_gap;
} conn;

typedef struct {
	unsigned *at; /* in tenths of a microsecond */
	size_t n;
} samples;

static int ep, chosen_port;
static const char *path;
static char *body;
static size_t body_len;
static char more_headers[8192];
static samples delays, firsts, gaps;
static long long events, windowed, errors, finished, cut;
static int measuring;
static ns gap_limit, longest_gap;

static ns now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void add(samples *s, ns value)
{
	if (!s->at)
		s->at = malloc(MOST_SAMPLES * sizeof *s->at);
	if (s->n < MOST_SAMPLES)
		s->at[s->n++] = (unsigned)(value / 100);
}

static int ascending(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
	return x < y ? -1 : x > y;
}

static void say(const char *name, samples *s)
{
	printf("\"%s\": {\"n\": %zu", name, s->n);
	if (s->n) {
		qsort(s->at, s->n, sizeof *s->at, ascending);
		printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f", s->at[s->n / 2] / 10.0,
		       s->at[s->n * 99 / 100] / 10.0, s->at[s->n - 1] / 10.0);
	}
	printf("}, ");
}

static void ask(conn *c)
{
	c->out_sent = 0;
	c->in_len = 0;
	c->first = 1;
	c->asked = c->last = now_ns();
}

static void push(conn *c)
{
	struct epoll_event e = {.data.ptr = c};
	while (c->out_sent < c->out_len) {
		ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
		if (n <= 0)
			break;
		c->out_sent += (size_t)n;
	}
	e.events = EPOLLIN | (c->out_sent < c->out_len ? EPOLLOUT : 0);
	epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

static int join(conn *c)
{
	struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
	int one = 1;
	where.sin_port = htons((unsigned short)chosen_port);
	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (void *)&where, sizeof where))
		return 0;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
	return 1;
}

static void write_request(conn *c)
{
	c->out = malloc(body_len + sizeof more_headers + 512);
	c->out_len = (size_t)sprintf(c->out,
				     "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
				     "Accept: */*\r\nUser-Agent: bench\r\nAuthorization: Bearer bench-%d\r\n"
				     "Content-Length: %zu\r\n%s\r\n",
				     path, chosen_port, c->number, body_len, more_headers);
	memcpy(c->out + c->out_len, body, body_len);
	c->out_len += body_len;
}

/* Counts the events in what has just come; keeps what may be half of one. */
static void see_events(conn *c)
{
	char *at = c->in, *end = c->in + c->in_len, *mark, *rest = c->in;
	ns now = now_ns(), gap = now - c->last;
	int seen = 0;
	while ((mark = memchr(at, '@', (size_t)(end - at)))) {
		char *stop = memchr(mark + 1, '@', (size_t)(end - mark - 1));
		if (!stop) {
			rest = mark;
			break;
		}
		if (stop - mark > 10 && stop - mark < 24) {
			if (measuring)
				add(&delays, now - atoll(mark + 1));
			seen++;
			at = stop + 1;
		} else {
			at = mark + 1;
		}
		rest = at;
	}
	if (seen) {
		events += seen;
		if (c->first)
			add(&firsts, now - c->asked);
		else if (measuring) {
			add(&gaps, gap);
			if (gap > c->longest_gap)
				c->longest_gap = gap;
			if (gap > longest_gap)
				longest_gap = gap;
		}
		c->first = 0;
		c->begun = 1;
		c->last = now;
	}
	if (memmem(rest, (size_t)(end - rest), "[DONE]", 6))
		c->over = 1;
	if (rest == c->in && c->in_len > 64)
		rest = end - 64;
	c->in_len = (size_t)(end - rest);
	memmove(c->in, rest, c->in_len);
}

static void restart(conn *c)
{
	close(c->fd);
	c->over = 0;
	ask(c);
	if (join(c))
		push(c);
	else
		errors++;
}

static void readable(conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, IN_BYTES - 1 - c->in_len, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		cut++;
		restart(c);
		return;
	}
	if (c->first && c->in_len == 0 && n > 12 && memcmp(c->in + 9, "200", 3) != 0) {
		if (!errors++)
			fprintf(stderr, "load: %.*s\n", (int)(n < 600 ? n : 600), c->in);
		restart(c);
		return;
	}
	c->in_len += (size_t)n;
	see_events(c);
	if (c->over) {
		finished++;
		restart(c);
	}
}

static int all_begun(conn *all, int connections)
{
	for (int i = 0; i < connections; i++)
		if (!all[i].begun)
			return 0;
	return 1;
}

static void turn(int wait_ms)
{
	struct epoll_event seen[512];
	int n = epoll_wait(ep, seen, 512, wait_ms);
	for (int i = 0; i < n; i++) {
		conn *c = seen[i].data.ptr;
		if (seen[i].events & EPOLLOUT)
			push(c);
		if (seen[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			readable(c);
	}
}

static void streams(int connections, double seconds, double settle, ns spread)
{
	conn *all = calloc((size_t)connections, sizeof *all);
	ns until, next = now_ns(), start = next;
	long long before;
	int joined = 0, over_limit = 0;
	while (joined < connections || !all_begun(all, connections)) {
		if (joined < connections && now_ns() >= next) {
			conn *c = &all[joined];
			c->number = joined++;
			write_request(c);
			ask(c);
			if (join(c))
				push(c);
			else
				errors++;
			next += spread;
		}
		turn(joined < connections ? 0 : 1);
		if (now_ns() - start > 60000000000LL) {
			fprintf(stderr, "load: not every stream began within 60 s\n");
			exit(1);
		}
	}
	for (until = now_ns() + (ns)(settle * 1e9); now_ns() < until;)
		turn(1);
	printf("begin %lld\n", events);
	fflush(stdout);
	before = events;
	measuring = 1;
	for (until = now_ns() + (ns)(seconds * 1e9); now_ns() < until;)
		turn(1);
	measuring = 0;
	windowed = events - before;
	printf("end %lld\n", events);
	fflush(stdout);
	for (int i = 0; i < connections; i++)
		over_limit += all[i].longest_gap > gap_limit;
	printf("{");
	say("delay", &delays);
	say("gap", &gaps);
	say("first_byte", &firsts);
	printf("\"events\": %lld, \"longest_gap_us\": %.1f, \"streams_over_gap\": %d, \"errors\": %lld, \"cut\": %lld, "
	       "\"finished\": %lld}\n",
	       windowed, longest_gap / 1e3, over_limit, errors, cut, finished);
	fflush(stdout);
	/* Whoever measures memory does so while the streams are open, and then closes our input. */
	while (getchar() != EOF)
		;
}

/* One whole answer with a length, or in chunks, into the buffer; false if there was none. */
static int whole_answer(conn *c)
{
	c->in_len = 0;
	for (;;) {
		char *end, *length;
		ssize_t n = recv(c->fd, c->in + c->in_len, IN_BYTES - 1 - c->in_len, 0);
		if (n <= 0)
			return 0;
		c->in_len += (size_t)n;
		c->in[c->in_len] = 0;
		end = strstr(c->in, "\r\n\r\n");
		if (!end)
			continue;
		length = strcasestr(c->in, "\r\ncontent-length:");
		if (length && length < end) {
			if (c->in_len >= (size_t)(end + 4 - c->in) + (size_t)atoll(length + 17))
				return !memcmp(c->in + 9, "200", 3);
		} else if (strstr(end, "\r\n0\r\n\r\n")) {
			return !memcmp(c->in + 9, "200", 3);
		}
	}
}

static int say_all(conn *c)
{
	while (c->out_sent < c->out_len) {
		ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
		if (n <= 0)
			return 0;
		c->out_sent += (size_t)n;
	}
	return 1;
}

static void questions(double seconds, double settle, int anew)
{
	conn *c = calloc(1, sizeof *c);
	ns start = now_ns(), begun;
	long long answered = 0;
	int connected = 0;
	write_request(c);
	while (now_ns() < start + (ns)((seconds + settle) * 1e9)) {
		int was = measuring;
		measuring = now_ns() > start + (ns)(settle * 1e9);
		if (measuring && !was) {
			printf("begin 0\n");
			fflush(stdout);
		}
		begun = now_ns();
		if (!connected) {
			if (!join(c)) {
				errors++;
				break;
			}
			fcntl(c->fd, F_SETFL, 0);
			connected = 1;
		}
		ask(c);
		if (!say_all(c) || !whole_answer(c)) {
			if (!errors++)
				fprintf(stderr, "load: %.*s\n", 600, c->in);
			close(c->fd);
			connected = 0;
			if (errors > 100)
				break;
			continue;
		}
		if (measuring) {
			add(&delays, now_ns() - (anew ? begun : c->asked));
			answered++;
		}
		if (anew) {
			close(c->fd);
			connected = 0;
		}
	}
	printf("end %lld\n{", answered);
	say("delay", &delays);
	printf("\"events\": %lld, \"errors\": %lld}\n", answered, errors);
}

static const char *option(int argc, char **argv, const char *name, const char *otherwise)
{
	for (int i = 2; i + 1 < argc; i += 2)
		if (!strcmp(argv[i], name))
			return argv[i + 1];
	return otherwise;
}

/* Every --header, each with its end of line; false if there is no room. */
static int take_headers(int argc, char **argv)
{
	size_t used = 0;
	for (int i = 2; i + 1 < argc; i += 2) {
		int n;
		if (strcmp(argv[i], "--header"))
			continue;
		n = snprintf(more_headers + used, sizeof more_headers - used, "%s\r\n", argv[i + 1]);
		if (n < 0 || (size_t)n >= sizeof more_headers - used)
			return 0;
		used += (size_t)n;
	}
	return 1;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "", *file = option(argc, argv, "--body", "");
	double seconds = atof(option(argc, argv, "--seconds", "5")), settle = atof(option(argc, argv, "--settle", "1"));
	FILE *f = fopen(file, "r");
	signal(SIGPIPE, SIG_IGN);
	if (!f) {
		fprintf(stderr, "load: --body names no file that can be read\n");
		return 1;
	}
	if (!take_headers(argc, argv)) {
		fprintf(stderr, "load: the headers are too long\n");
		return 1;
	}
	body = malloc(16 << 20);
	body_len = fread(body, 1, 16 << 20, f);
	fclose(f);
	path = option(argc, argv, "--path", "/v1/chat/completions");
	chosen_port = atoi(option(argc, argv, "--port", "0"));
	gap_limit = atoll(option(argc, argv, "--gap", "0")) * 1000;
	ep = epoll_create1(0);
	if (!strcmp(mode, "streams")) {
		ns spread = atoll(option(argc, argv, "--spread", "1000")) * 1000;
		streams(atoi(option(argc, argv, "--connections", "200")), seconds, settle, spread);
	} else if (!strcmp(mode, "json") || !strcmp(mode, "connects")) {
		questions(seconds, settle, !strcmp(mode, "connects"));
	} else {
		fprintf(stderr, "load: the first argument is streams, json or connects\n");
		return 1;
	}
	return 0;
}
