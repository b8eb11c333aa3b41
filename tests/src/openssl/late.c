/* Loads the server only once it is sent SIGUSR1: late SERVER.so ARGUMENTS... */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>

int main(int argc, char **argv) {
    sigset_t awaited;
    int signal;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGUSR1);
    sigprocmask(SIG_BLOCK, &awaited, NULL);
    puts("waiting");
    fflush(stdout);
    if (argc < 2 || sigwait(&awaited, &signal) != 0)
        return 1;
    void *server = dlopen(argv[1], RTLD_NOW);
    int (*serve)(int, char **) = server ? (int (*)(int, char **))dlsym(server, "main") : NULL;
    if (!serve) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    return serve(argc - 1, argv + 1);
}
