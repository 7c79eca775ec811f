/* First touch of anonymous memory on this host: rounds of mmap, one store a page, munmap.
 *
 * Usage: first_touch PAGES ROUNDS; prints the pages a second of each round's stores, one a line. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size_t page = sysconf(_SC_PAGESIZE), pages = strtoul(argv[1], NULL, 10);
    int rounds = atoi(argv[2]);

    while (rounds-- > 0) {
        volatile char *region = mmap(NULL, pages * page, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (region == MAP_FAILED)
            return 1;
        madvise((void *)region, pages * page, MADV_NOHUGEPAGE);
        double began = now();
        for (size_t i = 0; i < pages; i++)
            region[i * page] = 1;
        printf("%.0f\n", pages / (now() - began));
        munmap((void *)region, pages * page);
    }
    return 0;
}
