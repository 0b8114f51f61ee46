/*
 * daemon/index and kill -9: a child commits and says so, is killed at any moment, and the next one
 * goes on. What it said is there, no number is missing or given twice.
 */
#include "tests/unit/index_script.h"

#include <signal.h>
#include <sys/wait.h>

enum { ROUNDS = 25 };

static uint64_t random_state = 11;

static uint32_t random_below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % n;
}

/* Commits until it is killed; writes the number of transactions after each. Never returns. */
static void child(const char *path, int out)
{
    Index *index;
    Error err = {0};
    if (index_open(path, &index, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        _exit(1);
    }
    int done = (int)(index_last_sequence(index) / 2);
    for (;;) {
        if (script_transaction(index, done, &err) < 0) {
            fprintf(stderr, "%s\n", err.text);
            _exit(2);
        }
        done++;
        if (write(out, &done, sizeof done) != (ssize_t)sizeof done)
            _exit(3);
    }
}

static void killed_at_any_moment(void **state)
{
    Fixture *f = *state;
    char id[64];
    snprintf(id, sizeof id, "%s", index_daemon_id(f->index));
    index_free(f->index);
    f->index = NULL;
    int before = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            close(fds[0]);
            child(f->path, fds[1]);
        }
        close(fds[1]);
        int said = before;
        for (uint32_t n = 1 + random_below(12); n > 0; n--)
            assert_int_equal(read(fds[0], &said, sizeof said), sizeof said);
        /* somewhere in the middle of what it does next */
        volatile uint32_t spin = random_below(round % 2 ? 3000 : 2000000);
        while (spin > 0)
            spin--;
        assert_int_equal(kill(pid, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        int more;
        while (read(fds[0], &more, sizeof more) == (ssize_t)sizeof more)
            said = more;
        close(fds[0]);
        assert_true(said > before);

        Error err = {0};
        if (index_open(f->path, &f->index, &err) < 0)
            fail_msg("%s", err.text);
        assert_string_equal(index_daemon_id(f->index), id);
        before = script_check(f->index, said);
        assert_true(before <= said + 1);
        /* Sometimes another run ends in order in between. */
        if (round % 3 == 0) {
            assert_int_equal(script_transaction(f->index, before, &err), 0);
            before++;
        }
        index_free(f->index);
        f->index = NULL;
    }
    print_message("%d transactions, killed %d times\n", before, ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_at_any_moment, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
