/* OpenSSL, with a BIO that sends without SIGPIPE. State: tls.h. */
#include "serve/tls.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct bt_tls {
    SSL_CTX *context;
    BIO_METHOD *socket;
};

struct bt_tls_conn {
    SSL *ssl;
    int fd;
    bool broken; /* OpenSSL wants nothing more done with it */
};

static int socket_read(BIO *b, char *to, int size) {
    const struct bt_tls_conn *c = BIO_get_data(b);
    ssize_t n = recv(c->fd, to, (size_t)size, MSG_DONTWAIT);
    BIO_clear_retry_flags(b);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(b);
    return (int)n;
}

static int socket_write(BIO *b, const char *data, int len) {
    const struct bt_tls_conn *c = BIO_get_data(b);
    ssize_t n = send(c->fd, data, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    BIO_clear_retry_flags(b);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(b);
    return (int)n;
}

static long socket_control(BIO *b, int what, long number, void *arg) {
    (void)b;
    (void)number;
    (void)arg;
    return what == BIO_CTRL_FLUSH;
}

static int socket_create(BIO *b) {
    BIO_set_init(b, 1);
    return 1;
}

/* The newest of OpenSSL's errors, which says what is wrong. */
static const char *why(void) {
    unsigned long code = ERR_peek_last_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    return text ? text : "OpenSSL does not say why";
}

/* A key with a passphrase is an error, not a question at a terminal that nobody watches. */
static int no_passphrase(char *to, int size, int writing, void *arg) {
    (void)to;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

/* Clients that offer HTTP/2 are told that they get HTTP/1.1. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                           unsigned in_len, void *arg) {
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto((unsigned char **)out, out_len, ours, sizeof ours - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    return SSL_TLSEXT_ERR_OK;
}

static baton_status fill(struct bt_tls *t, const char *cert, const char *key, baton_error *err) {
    t->context = SSL_CTX_new(TLS_server_method());
    t->socket = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket without SIGPIPE");
    if (!t->context || !t->socket || !BIO_meth_set_read(t->socket, socket_read) ||
        !BIO_meth_set_write(t->socket, socket_write) || !BIO_meth_set_ctrl(t->socket, socket_control) ||
        !BIO_meth_set_create(t->socket, socket_create))
        return bt_fail(err, BATON_NO_MEMORY, "out of memory for TLS");
    SSL_CTX_set_min_proto_version(t->context, TLS1_2_VERSION);
    SSL_CTX_set_options(t->context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* what is sent again lies elsewhere, with more behind it, when the output has grown */
    SSL_CTX_set_mode(t->context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(t->context, choose_protocol, NULL);
    SSL_CTX_set_default_passwd_cb(t->context, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(t->context, cert) != 1)
        return bt_fail(err, BATON_INVALID, "the certificate %s cannot be used: %s", cert, why());
    if (SSL_CTX_use_PrivateKey_file(t->context, key, SSL_FILETYPE_PEM) != 1)
        return ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH
                   ? bt_fail(err, BATON_INVALID, "the key %s does not belong to the certificate %s", key, cert)
                   : bt_fail(err, BATON_INVALID, "the key %s cannot be used: %s (expected PEM without a passphrase)",
                             key, why());
    return BATON_OK;
}

baton_status bt_tls_open(const char *cert, const char *key, struct bt_tls **tls, baton_error *err) {
    struct bt_tls *t = calloc(1, sizeof *t);
    *tls = NULL;
    if (!t)
        return bt_fail(err, BATON_NO_MEMORY, "out of memory for TLS");
    ERR_clear_error();
    baton_status status = fill(t, cert, key, err);
    ERR_clear_error();
    if (status)
        bt_tls_close(&t);
    *tls = t;
    return status;
}

void bt_tls_close(struct bt_tls **tls) {
    struct bt_tls *t = *tls;
    *tls = NULL;
    if (!t)
        return;
    SSL_CTX_free(t->context);
    BIO_meth_free(t->socket);
    free(t);
}

struct bt_tls_conn *bt_tls_accept(struct bt_tls *tls, int fd) {
    struct bt_tls_conn *c = calloc(1, sizeof *c);
    BIO *b = BIO_new(tls->socket);
    SSL *ssl = SSL_new(tls->context);
    if (!c || !b || !ssl) {
        free(c);
        BIO_free(b);
        SSL_free(ssl);
        return NULL;
    }
    *c = (struct bt_tls_conn){.ssl = ssl, .fd = fd};
    BIO_set_data(b, c);
    SSL_set_bio(ssl, b, b);
    SSL_set_accept_state(ssl);
    return c;
}

/* What a call that did not succeed means, as recv and send would say it. */
static ssize_t as_errno(struct bt_tls_conn *c, int result) {
    switch (SSL_get_error(c->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        if (!c->broken && bt_log_wants(BATON_LOG_DEBUG))
            bt_log(BATON_LOG_DEBUG, "a TLS connection ends: %s", ERR_peek_last_error() ? why() : strerror(errno));
        c->broken = true;
        errno = EPROTO;
        return -1;
    }
}

ssize_t bt_tls_recv(struct bt_tls_conn *c, void *to, size_t size) {
    ERR_clear_error(); /* of other connections: SSL_get_error would take it for ours */
    int n = SSL_read(c->ssl, to, (int)BT_MIN(size, (size_t)INT_MAX));
    return n > 0 ? n : as_errno(c, n);
}

ssize_t bt_tls_send(struct bt_tls_conn *c, const void *data, size_t len) {
    ERR_clear_error();
    int n = SSL_write(c->ssl, data, (int)BT_MIN(len, (size_t)INT_MAX));
    return n > 0 ? n : as_errno(c, n);
}

void bt_tls_end(struct bt_tls_conn *c) {
    if (c->broken || !SSL_is_init_finished(c->ssl))
        return;
    ERR_clear_error();
    SSL_shutdown(c->ssl);
}

void bt_tls_free(struct bt_tls_conn **conn) {
    struct bt_tls_conn *c = *conn;
    *conn = NULL;
    if (!c)
        return;
    SSL_free(c->ssl);
    free(c);
}
