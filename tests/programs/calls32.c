// A gateway of 32 bits, one connection at a time. Without a C library: a host for 64 bits seldom has one for 32.
//
// calls32 PORT

enum { EXIT = 1, CLOSE = 6, SOCKET_CALL = 102 };
enum { SOCKET = 1, BIND = 2, LISTEN = 4, ACCEPT = 5, SEND = 9, RECV = 10 };
enum { AF_INET = 2, SOCK_STREAM = 1 };

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
static char buffer[1 << 16];

static long call(long number, long first, long second) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(0) : "memory");
    return result;
}

static long on_socket(long what, long first, long second, long third, long fourth) {
    long arguments[4] = {first, second, third, fourth};
    return call(SOCKET_CALL, what, (long)arguments);
}

static void must(int holds) {
    if (!holds) call(EXIT, 1, 0);
}

__attribute__((used)) void serve(char **arguments) {
    unsigned port = 0;
    for (const char *digit = arguments[1]; *digit; digit++) port = port * 10 + (*digit - '0');
    struct { unsigned short family, port; unsigned char address[12]; } at = {
        AF_INET, (unsigned short)(port << 8 | port >> 8), {127, 0, 0, 1}};
    long listener = on_socket(SOCKET, AF_INET, SOCK_STREAM, 0, 0);
    must(on_socket(BIND, listener, (long)&at, sizeof at, 0) == 0);
    must(on_socket(LISTEN, listener, 16, 0, 0) == 0);
    for (;;) {
        long client = on_socket(ACCEPT, listener, 0, 0, 0);
        must(client >= 0);
        while (on_socket(RECV, client, (long)buffer, sizeof buffer, 0) > 0)
            must(on_socket(SEND, client, (long)ANSWER, sizeof ANSWER - 1, 0) == sizeof ANSWER - 1);
        call(CLOSE, client, 0);
    }
}

// At the start the stack holds the number of arguments and then their addresses.
__asm__(".globl _start\n_start: lea 4(%esp), %eax\n and $-16, %esp\n sub $12, %esp\n push %eax\n call serve\n");
