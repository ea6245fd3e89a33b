/* Prints the number of each signal as it comes, and ends at SIGTERM. Prints `ready` first. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGTSTP);
	sigprocmask(SIG_SETMASK, &all, NULL);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int number;

		sigwait(&all, &number);
		printf("got %d\n", number);
		fflush(stdout);
		if (number == SIGTERM)
			return 9;
	}
}
