/* An HTTPS server that uses the library's functions as gateways other than nginx do: peeks, the `_ex` forms, a socket set
 * before anything is read, renegotiation; handshakes made by the first read, ciphertext that goes through memory. One
 * connection after the other. */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef OPENSSL_IS_BORINGSSL
/* It has no such forms. */
static int SSL_read_ex(SSL *ssl, void *to, size_t room, size_t *count) {
    int result = SSL_read(ssl, to, (int)room);
    *count = result > 0 ? (size_t)result : 0;
    return result > 0;
}

static int SSL_write_ex(SSL *ssl, const void *from, size_t length, size_t *count) {
    int result = SSL_write(ssl, from, (int)length);
    *count = result > 0 ? (size_t)result : 0;
    return result > 0;
}
#endif

static void must(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "%s failed\n", what);
        exit(1);
    }
}

/* The connection's socket where ciphertext goes through memory, else -1. */
static int outer = -1;

/* Sends what the library has left in memory. */
static int flush(SSL *ssl) {
    char bytes[16384];
    int count;
    if (outer < 0)
        return 1;
    while ((count = BIO_read(SSL_get_wbio(ssl), bytes, sizeof bytes)) > 0)
        if (send(outer, bytes, (size_t)count, 0) != count)
            return 0;
    return 1;
}

/* Brings what the library wants to read into memory. Returns whether it is worth another call. */
static int fill(SSL *ssl, int result) {
    char bytes[16384];
    if (outer < 0 || SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ || !flush(ssl))
        return 0;
    ssize_t count = recv(outer, bytes, sizeof bytes, 0);
    return count > 0 && BIO_write(SSL_get_rbio(ssl), bytes, (int)count) == count;
}

/* Reads up to a head's end. Each piece is peeked at before it is read. */
static int read_head(SSL *ssl, char *head, size_t room) {
    size_t length = 0, count;
    while (length < room - 1) {
        int peeked = SSL_peek(ssl, head + length, (int)(room - 1 - length));
        if (peeked <= 0) {
            if (fill(ssl, peeked))
                continue;
            return 0;
        }
        if (!SSL_read_ex(ssl, head + length, room - 1 - length, &count))
            return 0;
        length += count;
        head[length] = 0;
        if (strstr(head, "\r\n\r\n"))
            return 1;
    }
    return 0;
}

static int answer(SSL *ssl, size_t body_length) {
    char head[128];
    size_t length = (size_t)snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body_length);
    char *body = malloc(body_length + 1);
    size_t count;
    memset(body, 'b', body_length);
    int sent = SSL_write_ex(ssl, head, length, &count) && (!body_length || SSL_write_ex(ssl, body, body_length, &count));
    free(body);
    return sent && flush(ssl);
}

static void serve(SSL *ssl) {
    char head[8192];
    while (read_head(ssl, head, sizeof head)) {
        unsigned long body_length = 0;
        sscanf(head, "GET /%lu", &body_length);
#ifdef SSL_OP_ALLOW_CLIENT_RENEGOTIATION
        if (strstr(head, "X-Renegotiate")) {
            must(SSL_renegotiate(ssl), "SSL_renegotiate");
            must(SSL_do_handshake(ssl) == 1, "SSL_do_handshake");
        }
#endif
        if (!answer(ssl, body_length))
            return;
    }
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    must(argc == 5, "usage: server CERTIFICATE KEY PORT accepting|reading|memory");
    int accepts = strcmp(argv[4], "accepting") == 0, remembers = strcmp(argv[4], "memory") == 0;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    must(context != NULL, "SSL_CTX_new");
    must(SSL_CTX_use_certificate_chain_file(context, argv[1]) == 1, "the certificate");
    must(SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM) == 1, "the key");
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[3]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(listener, 64) == 0, "listen");
    for (;;) {
        int socket = accept(listener, NULL, NULL);
        SSL *ssl = SSL_new(context);
        must(socket >= 0 && ssl != NULL, "SSL_new");
        outer = remembers ? socket : -1;
        if (remembers)
            SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        else
            must(SSL_set_fd(ssl, socket) == 1, "SSL_set_fd");
        SSL_set_accept_state(ssl);
        if (!accepts || SSL_accept(ssl) == 1)
            serve(ssl);
        SSL_shutdown(ssl);
        flush(ssl);
        SSL_free(ssl);
        close(socket);
    }
}
