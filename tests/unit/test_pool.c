/* Every item once, each by one thread at a time, job after job; threads that come late. */
#include "model/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_ITEMS = 300, THREADS = 4 };

typedef struct Count {
    _Atomic int of_item[MAX_ITEMS];
    _Atomic int in_thread[THREADS]; /* how many work calls a thread number is in */
    _Atomic int wrong;
    size_t items;
} Count;

static void count(void *user, size_t item, int thread)
{
    Count *c = user;
    if (item >= c->items || thread < 0 || thread >= THREADS ||
        atomic_fetch_add(&c->in_thread[thread], 1) != 0)
        c->wrong = 1;
    atomic_fetch_add(&c->of_item[item], 1);
    atomic_fetch_sub(&c->in_thread[thread], 1);
}

static void test_each_item_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= THREADS; threads++) {
        Pool *pool = NULL;
        assert_int_equal(pool_new(threads, &pool), 0);
        assert_int_equal(pool_threads(pool), threads);
        for (size_t round = 0; round < 3000; round++) {
            Count c = {.items = round * 7 % MAX_ITEMS};
            pool_run(pool, c.items, count, &c);
            assert_int_equal(c.wrong, 0);
            for (size_t i = 0; i < MAX_ITEMS; i++)
                if (c.of_item[i] != (i < c.items))
                    fail_msg("round %zu: item %zu was done %d times", round, i, c.of_item[i]);
        }
        pool_free(pool);
    }
}

/* What the items wrote is there when the call returns. */
static void square(void *user, size_t item, int thread)
{
    (void)thread;
    ((double *)user)[item] = (double)item * (double)item;
}

static void test_results_are_visible(void **state)
{
    (void)state;
    Pool *pool = NULL;
    assert_int_equal(pool_new(THREADS, &pool), 0);
    for (int round = 0; round < 2000; round++) {
        double values[37];
        memset(values, 0xff, sizeof values);
        pool_run(pool, 37, square, values);
        for (size_t i = 0; i < 37; i++)
            assert_true(values[i] == (double)i * (double)i);
    }
    pool_free(pool);
}

/* Two pools of two owners at once, and one that never ran. */
static void nested(void *user, size_t item, int thread)
{
    Count *c = user;
    Pool *mine = NULL;
    (void)thread;
    if (pool_new(2, &mine) < 0) {
        c->wrong = 1;
        return;
    }
    double values[9];
    pool_run(mine, 9, square, values);
    if (values[8] != 64)
        c->wrong = 1;
    pool_free(mine);
    atomic_fetch_add(&c->of_item[item], 1);
}

static void test_two_pools(void **state)
{
    (void)state;
    Pool *pool = NULL, *idle = NULL;
    assert_int_equal(pool_new(3, &idle), 0);
    assert_int_equal(pool_new(2, &pool), 0);
    Count c = {.items = 50};
    pool_run(pool, 50, nested, &c);
    assert_int_equal(c.wrong, 0);
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(c.of_item[i], 1);
    pool_free(pool);
    pool_free(idle);
    pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_item_once),
        cmocka_unit_test(test_results_are_visible),
        cmocka_unit_test(test_two_pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
