/* A wall clock that goes wrong by a fixed time, for a process under test: loaded before the C library. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t skew(void)
{
	const char *seconds = getenv("BACKOUT_TEST_SKEW");
	return seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
	int failed = (int)syscall(SYS_clock_gettime, id, now);
	if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		now->tv_sec += skew();
	return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;
	int failed = clock_gettime(CLOCK_REALTIME, &precise);
	(void)zone;
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return failed;
}

time_t time(time_t *stored)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (stored)
		*stored = now.tv_sec;
	return now.tv_sec;
}
