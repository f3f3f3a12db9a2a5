/* The bench's upstream: an HTTP/1.1 server that costs little, so that the router is what is measured.
 *
 * One thread, one epoll. GET answers with the file of the same name in --root ("/" is written "_"),
 * else with {"status":"ok"}. POST answers with one JSON document, or, if the body asks for a stream,
 * with --chunks events, one each --interval microseconds, every one of which carries the moment at
 * which it was sent as "@nanoseconds@" of CLOCK_MONOTONIC and --pad more characters. With --cert and --key it speaks TLS.
 * GET /bench/set/CHUNKS/INTERVAL changes both while no stream is open: one upstream serves every figure,
 * so that no router has to be started anew or loses its connections in between.
 *
 * It trusts its peers: it is no example of an HTTP server.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define HEAD_BYTES (64 * 1024)
#define OUT_BYTES (32 * 1024)
#define MOST_PAD 8192

typedef struct conn {
	int fd;
	SSL *ssl;
	char in[HEAD_BYTES];
	size_t in_len;
	long long body_left; /* of a body with a length */
	int chunked;	     /* of a body without one: until "0\r\n\r\n" */
	int reading_body, stream, is_post, dead;
	char path[256];
	int chunks_left;
	long long due;
	struct conn *next, *prev; /* in the queue of what is due; all have one interval, so it is in order */
	int queued;
	char out[OUT_BYTES];
	size_t out_len;
	int waiting;
} conn;

static int ep;
static SSL_CTX *tls;
static conn due_list; /* a ring's head */
static int chunks = 200;
static long long interval_ns = 20000000;
static const char *root = "";
static char pad[MOST_PAD + 1];

static long long now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void unqueue(conn *c)
{
	if (!c->queued)
		return;
	c->prev->next = c->next;
	c->next->prev = c->prev;
	c->queued = 0;
}

static void queue(conn *c, long long due)
{
	c->due = due;
	c->prev = due_list.prev;
	c->next = &due_list;
	due_list.prev->next = c;
	due_list.prev = c;
	c->queued = 1;
}

static void watch(conn *c, int writing)
{
	struct epoll_event e = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
	if (c->waiting == writing)
		return;
	c->waiting = writing;
	epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

static void drop(conn *c)
{
	unqueue(c);
	c->dead = 1;
	if (c->ssl)
		SSL_free(c->ssl);
	close(c->fd);
}

static void flush(conn *c)
{
	while (c->out_len) {
		ssize_t n;
		if (c->ssl) {
			n = SSL_write(c->ssl, c->out, (int)c->out_len);
			ERR_clear_error();
		} else {
			n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
		}
		if (n <= 0)
			break;
		memmove(c->out, c->out + n, c->out_len - (size_t)n);
		c->out_len -= (size_t)n;
	}
	watch(c, c->out_len > 0);
}

static void put(conn *c, const char *data, size_t len)
{
	if (c->out_len + len > OUT_BYTES)
		return; /* the caller leaves room for what it sends */
	memcpy(c->out + c->out_len, data, len);
	c->out_len += len;
}

static void put_chunk(conn *c, const char *data, size_t len)
{
	char size[16];
	put(c, size, (size_t)sprintf(size, "%zx\r\n", len));
	put(c, data, len);
	put(c, "\r\n", 2);
}

static void event(conn *c)
{
	char text[1024 + MOST_PAD];
	int last = c->chunks_left == 1;
	int n = sprintf(text,
			"data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
			"\"model\":\"bench/model\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":"
			"\"@%lld@%s\"},\"logprobs\":null,\"finish_reason\":%s}]}\n\n",
			now_ns(), pad, last ? "\"stop\"" : "null");
	put_chunk(c, text, (size_t)n);
	if (last) {
		put_chunk(c, "data: [DONE]\n\n", 14);
		put(c, "0\r\n\r\n", 5);
	}
	c->chunks_left--;
}

static void whole(conn *c, const char *type, const char *body, size_t len)
{
	char head[256];
	put(c, head,
	    (size_t)sprintf(head, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", type, len));
	put(c, body, len);
}

static void answer_get(conn *c)
{
	char name[1024], *at;
	static char body[OUT_BYTES - 512];
	size_t len = 0;
	FILE *f;
	int more;
	long long interval_us;
	if (sscanf(c->path, "/bench/set/%d/%lld", &more, &interval_us) == 2) {
		chunks = more;
		interval_ns = interval_us * 1000;
	}
	if ((at = strchr(c->path, '?')))
		*at = 0;
	for (at = c->path; *at; at++)
		if (*at == '/')
			*at = '_';
	snprintf(name, sizeof name, "%s/%s", root, c->path);
	if (*root && (f = fopen(name, "r"))) {
		len = fread(body, 1, sizeof body, f);
		fclose(f);
	}
	if (len)
		whole(c, "application/json", body, len);
	else
		whole(c, "application/json", "{\"status\":\"ok\"}", 15);
}

static void answer(conn *c)
{
	static const char json[] =
	    "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench/model\","
	    "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hello there, how may I help you "
	    "today?\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,\"total_tokens\":21,"
	    "\"completion_tokens\":12}}";
	if (!c->is_post) {
		answer_get(c);
	} else if (!c->stream) {
		whole(c, "application/json", json, sizeof json - 1);
	} else {
		static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
					   "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
		put(c, head, sizeof head - 1);
		c->chunks_left = chunks;
		event(c);
		if (c->chunks_left)
			queue(c, now_ns() + interval_ns);
	}
	flush(c);
}

static void saw_body(conn *c, const char *data, size_t len)
{
	/* What asks for a stream stands in the first or the last bytes of a body; either may be asked. */
	if (memmem(data, len, "\"stream\":true", 13) || memmem(data, len, "\"stream\": true", 14))
		c->stream = 1;
}

static void start_request(conn *c, char *head_end)
{
	char *length = NULL;
	*head_end = 0;
	c->is_post = !strncmp(c->in, "POST", 4);
	sscanf(c->in, "%*s %255s", c->path);
	length = strcasestr(c->in, "\r\ncontent-length:");
	c->body_left = length ? atoll(length + 17) : 0;
	c->chunked = !length && strcasestr(c->in, "\r\ntransfer-encoding:") != NULL;
	c->stream = 0;
	c->reading_body = 1;
}

/* Takes what is in the buffer; true if a request was completed. */
static int take(conn *c)
{
	size_t used;
	if (!c->reading_body) {
		char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
		if (!end)
			return 0;
		start_request(c, end);
		used = (size_t)(end - c->in) + 4;
		memmove(c->in, c->in + used, c->in_len - used);
		c->in_len -= used;
	}
	if (c->chunked) {
		char *end = memmem(c->in, c->in_len, "0\r\n\r\n", 5);
		saw_body(c, c->in, c->in_len);
		if (!end) {
			size_t keep = c->in_len < 32 ? c->in_len : 32;
			memmove(c->in, c->in + c->in_len - keep, keep);
			c->in_len = keep;
			return 0;
		}
		used = (size_t)(end - c->in) + 5;
	} else {
		used = c->in_len < (size_t)c->body_left ? c->in_len : (size_t)c->body_left;
		saw_body(c, c->in, used);
		if (used < (size_t)c->body_left) {
			size_t keep = used < 32 ? used : 32;
			c->body_left -= (long long)(used - keep);
			memmove(c->in, c->in + used - keep, keep);
			c->in_len = keep;
			return 0;
		}
	}
	memmove(c->in, c->in + used, c->in_len - used);
	c->in_len -= used;
	c->reading_body = 0;
	return 1;
}

static void readable(conn *c)
{
	for (;;) {
		ssize_t n;
		size_t room = HEAD_BYTES - 1 - c->in_len;
		if (c->ssl) {
			n = SSL_read(c->ssl, c->in + c->in_len, (int)room);
			if (n <= 0) {
				int why = SSL_get_error(c->ssl, (int)n);
				ERR_clear_error();
				if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
					return;
				drop(c);
				return;
			}
		} else {
			n = recv(c->fd, c->in + c->in_len, room, 0);
			if (n < 0 && errno == EAGAIN)
				return;
			if (n <= 0) {
				drop(c);
				return;
			}
		}
		c->in_len += (size_t)n;
		c->in[c->in_len] = 0;
		while (take(c))
			answer(c);
		if (!c->ssl && (size_t)n < room)
			return;
	}
}

static void accept_all(int port)
{
	int fd, one = 1;
	while ((fd = accept4(port, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		struct epoll_event e = {.events = EPOLLIN};
		conn *c = calloc(1, sizeof *c);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		c->fd = fd;
		if (tls) {
			c->ssl = SSL_new(tls);
			SSL_set_fd(c->ssl, fd);
			SSL_set_accept_state(c->ssl);
		}
		e.data.ptr = c;
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
	}
}

static int run_due(void)
{
	long long now = now_ns();
	while (due_list.next != &due_list) {
		conn *c = due_list.next;
		if (c->due > now)
			return (int)((c->due - now) / 1000);
		unqueue(c);
		if (c->out_len > OUT_BYTES / 2) {
			queue(c, now + interval_ns); /* the peer does not read: as a model would, go on later */
			continue;
		}
		event(c);
		flush(c);
		if (c->chunks_left)
			queue(c, c->due + interval_ns > now ? c->due + interval_ns : now);
		if (!interval_ns)
			return 0;
	}
	return -1;
}

static const char *option(int argc, char **argv, const char *name, const char *otherwise)
{
	for (int i = 1; i + 1 < argc; i += 2)
		if (!strcmp(argv[i], name))
			return argv[i + 1];
	return otherwise;
}

int main(int argc, char **argv)
{
	struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, seen[256];
	int one = 1, port = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	const char *cert = option(argc, argv, "--cert", NULL);
	socklen_t size = sizeof where;
	signal(SIGPIPE, SIG_IGN);
	chunks = atoi(option(argc, argv, "--chunks", "200"));
	interval_ns = atoll(option(argc, argv, "--interval", "20000")) * 1000;
	for (int i = atoi(option(argc, argv, "--pad", "0")); i > 0 && i <= MOST_PAD; i--)
		pad[i - 1] = 'x';
	root = option(argc, argv, "--root", "");
	where.sin_port = htons((unsigned short)atoi(option(argc, argv, "--port", "0")));
	due_list.next = due_list.prev = &due_list;
	if (cert) {
		tls = SSL_CTX_new(TLS_server_method());
		SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
		if (SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
		    SSL_CTX_use_PrivateKey_file(tls, option(argc, argv, "--key", cert), SSL_FILETYPE_PEM) != 1) {
			fprintf(stderr, "upstream: the certificate or key cannot be read\n");
			return 1;
		}
	}
	setsockopt(port, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(port, (void *)&where, sizeof where) || listen(port, 4096)) {
		perror("upstream: cannot listen");
		return 1;
	}
	getsockname(port, (void *)&where, &size);
	printf("listening %d\n", ntohs(where.sin_port));
	fflush(stdout);
	ep = epoll_create1(0);
	epoll_ctl(ep, EPOLL_CTL_ADD, port, &e);
	for (;;) {
		int wait_us = run_due(), n;
		struct timespec t = {wait_us / 1000000, (wait_us % 1000000) * 1000L};
		n = epoll_pwait2(ep, seen, 256, wait_us < 0 ? NULL : &t, NULL);
		for (int i = 0; i < n; i++) {
			conn *c = seen[i].data.ptr;
			if (!c) {
				accept_all(port);
				continue;
			}
			if (seen[i].events & EPOLLOUT)
				flush(c);
			readable(c);
		}
		for (int i = 0; i < n; i++) {
			conn *c = seen[i].data.ptr;
			if (c && c->dead) {
				for (int j = i + 1; j < n; j++)
					if (seen[j].data.ptr == c)
						seen[j].data.ptr = NULL;
				free(c);
			}
		}
	}
}
