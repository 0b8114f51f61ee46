/*
 * daemon/index on a disk that fails: the Nth write, sync or truncation of a session fails, for
 * every N there is. Whatever the index then says is true, and what it acknowledged is there
 * afterwards.
 */
#include "daemon/index_internal.h"
#include "tests/unit/index_script.h"

#include <errno.h>
#include <sqlite3.h>

enum { TRANSACTIONS = 3, MAX_RETRIES = 64 };

typedef enum FaultKind { FAULT_FULL, FAULT_WRITE, FAULT_TORN, FAULT_SYNC, N_FAULTS } FaultKind;

/* --- a VFS over the usual one --- */

static struct {
    FaultKind kind;
    long after;                       /* calls that still succeed; < 0: all do */
    long failures;                    /* then so many fail */
    long failed, in_log, in_database; /* did, so far: where */
} fault;

static bool eager; /* each commit is followed by a checkpoint */

typedef struct FaultFile {
    sqlite3_file base;
    sqlite3_file *real;
    bool is_log;
} FaultFile;

static sqlite3_file *real(sqlite3_file *file)
{
    return ((FaultFile *)file)->real;
}

static bool fails(sqlite3_file *file, bool is_sync)
{
    if (fault.after < 0 || is_sync != (fault.kind == FAULT_SYNC))
        return false;
    if (fault.after > 0) {
        fault.after--;
        return false;
    }
    if (fault.failures == 0)
        return false;
    fault.failures--;
    fault.failed++;
    *(((FaultFile *)file)->is_log ? &fault.in_log : &fault.in_database) += 1;
    return true;
}

static int f_close(sqlite3_file *file)
{
    int r = real(file)->pMethods->xClose(real(file));
    sqlite3_free(real(file));
    return r;
}

static int f_read(sqlite3_file *file, void *bytes, int n, sqlite3_int64 at)
{
    return real(file)->pMethods->xRead(real(file), bytes, n, at);
}

static int f_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 at)
{
    if (!fails(file, false))
        return real(file)->pMethods->xWrite(real(file), bytes, n, at);
    if (fault.kind == FAULT_FULL)
        return SQLITE_FULL;
    if (fault.kind == FAULT_TORN)
        real(file)->pMethods->xWrite(real(file), bytes, n / 2, at);
    return SQLITE_IOERR_WRITE;
}

static int f_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    if (fails(file, false))
        return SQLITE_IOERR_TRUNCATE;
    return real(file)->pMethods->xTruncate(real(file), size);
}

static int f_sync(sqlite3_file *file, int flags)
{
    if (fails(file, true))
        return SQLITE_IOERR_FSYNC;
    /* What a sync does for a power cut cannot be seen here; without it this is much faster. */
    (void)flags;
    return SQLITE_OK;
}

static int f_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return real(file)->pMethods->xFileSize(real(file), size);
}

static int f_lock(sqlite3_file *file, int level)
{
    return real(file)->pMethods->xLock(real(file), level);
}

static int f_unlock(sqlite3_file *file, int level)
{
    return real(file)->pMethods->xUnlock(real(file), level);
}

static int f_check_lock(sqlite3_file *file, int *result)
{
    return real(file)->pMethods->xCheckReservedLock(real(file), result);
}

static int f_control(sqlite3_file *file, int op, void *arg)
{
    return real(file)->pMethods->xFileControl(real(file), op, arg);
}

static int f_sector(sqlite3_file *file)
{
    return real(file)->pMethods->xSectorSize(real(file));
}

static int f_device(sqlite3_file *file)
{
    return real(file)->pMethods->xDeviceCharacteristics(real(file));
}

static int f_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **at)
{
    return real(file)->pMethods->xShmMap(real(file), page, size, extend, at);
}

static int f_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return real(file)->pMethods->xShmLock(real(file), offset, n, flags);
}

static void f_shm_barrier(sqlite3_file *file)
{
    real(file)->pMethods->xShmBarrier(real(file));
}

static int f_shm_unmap(sqlite3_file *file, int remove)
{
    return real(file)->pMethods->xShmUnmap(real(file), remove);
}

static const sqlite3_io_methods METHODS = {.iVersion = 2,
                                           .xClose = f_close,
                                           .xRead = f_read,
                                           .xWrite = f_write,
                                           .xTruncate = f_truncate,
                                           .xSync = f_sync,
                                           .xFileSize = f_file_size,
                                           .xLock = f_lock,
                                           .xUnlock = f_unlock,
                                           .xCheckReservedLock = f_check_lock,
                                           .xFileControl = f_control,
                                           .xSectorSize = f_sector,
                                           .xDeviceCharacteristics = f_device,
                                           .xShmMap = f_shm_map,
                                           .xShmLock = f_shm_lock,
                                           .xShmBarrier = f_shm_barrier,
                                           .xShmUnmap = f_shm_unmap};

static sqlite3_vfs *usual, faulty;

static int f_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    (void)vfs;
    FaultFile *f = (FaultFile *)file;
    f->base.pMethods = NULL;
    f->is_log = flags & SQLITE_OPEN_WAL;
    f->real = sqlite3_malloc(usual->szOsFile);
    if (!f->real)
        return SQLITE_NOMEM;
    memset(f->real, 0, (size_t)usual->szOsFile);
    int r = usual->xOpen(usual, name, f->real, flags, out);
    if (r == SQLITE_OK)
        f->base.pMethods = &METHODS;
    else
        sqlite3_free(f->real);
    return r;
}

/* Without the sync of the folder: see f_sync. */
static int f_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    (void)vfs;
    (void)sync_dir;
    return usual->xDelete(usual, name, 0);
}

static int install(void **state)
{
    (void)state;
    usual = sqlite3_vfs_find(NULL);
    faulty = *usual;
    faulty.zName = "faulty";
    faulty.szOsFile = (int)sizeof(FaultFile);
    faulty.xOpen = f_open;
    faulty.xDelete = f_delete;
    fault.after = -1;
    return sqlite3_vfs_register(&faulty, 1) == SQLITE_OK ? 0 : -1;
}

/* --- sessions --- */

static void is_io_error(const Error *err)
{
    if (err->exit_code != EX_IOERR)
        fail_msg("exit code %d: %s", err->exit_code, err->text);
    assert_non_null(strstr(err->text, "index.db"));
    assert_non_null(strstr(err->text, fault.kind == FAULT_FULL && strstr(err->text, "full")
                                          ? "free space on the file system"
                                          : "(")); /* there is a remedy */
}

/* A whole session: what fails is tried again until it succeeds. */
static void run_session(const char *path)
{
    Index *index = NULL;
    int tries = 0;
    for (;; tries++) {
        assert_true(tries < MAX_RETRIES);
        Error err = {0};
        if (index_open(path, &index, &err) == 0)
            break;
        is_io_error(&err);
        assert_null(index);
    }
    if (eager)
        sqlite3_wal_autocheckpoint(index->db, 1);
    for (int i = 0; i < TRANSACTIONS;) {
        Error err = {0};
        int r = script_transaction(index, i, &err);
        if (r == 0) {
            i++;
            assert_int_equal(index_last_sequence(index), 2 * i);
            continue;
        }
        assert_true(++tries < MAX_RETRIES);
        is_io_error(&err);
        /* The numbers that it had been given are free again, and nothing of it can be seen. */
        assert_int_equal(index_last_sequence(index), 2 * i);
        long left = fault.after;
        fault.after = -1;
        assert_int_equal(script_check(index, i), i);
        fault.after = left;
    }
    index_free(index);
}

/* Fails at the Nth call, for each N until a session needs none. */
static void every_call_fails(Fixture *f, FaultKind kind, long failures)
{
    long sessions = 0;
    fault.in_log = fault.in_database = 0;
    for (long n = 0;; n++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%ld.index.db", f->dir, n);
        fault.kind = kind;
        fault.failures = failures;
        fault.failed = 0;
        fault.after = n;
        run_session(path);
        bool any = fault.failed > 0;
        fault.after = -1;
        Index *index;
        Error err = {0};
        if (index_open(path, &index, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(script_check(index, TRANSACTIONS), TRANSACTIONS);
        index_free(index);
        unlink(path);
        if (!any)
            break;
        sessions++;
    }
    print_message(
        "kind %d: %ld sessions, each with %ld failures; %ld in the log, %ld in the file\n",
        (int)kind, sessions, failures, fault.in_log, fault.in_database);
    assert_true(sessions > TRANSACTIONS);
    /* Commits write to the log; the file is written by checkpoints alone, but for its making. */
    assert_true(fault.in_log > TRANSACTIONS && fault.in_database > (eager ? TRANSACTIONS : 0));
}

static void disk_full_at_every_write(void **state)
{
    every_call_fails(*state, FAULT_FULL, 1);
}

static void write_fails(void **state)
{
    every_call_fails(*state, FAULT_WRITE, 8);
}

static void write_is_torn(void **state)
{
    every_call_fails(*state, FAULT_TORN, 1);
}

static void sync_fails(void **state)
{
    every_call_fails(*state, FAULT_SYNC, 1);
    every_call_fails(*state, FAULT_SYNC, 3);
}

/* What is committed is copied from the log into the file after each commit: when that fails nothing
 * is lost, and it is done later. */
static void checkpoint_fails(void **state)
{
    eager = true;
    every_call_fails(*state, FAULT_FULL, 1);
    every_call_fails(*state, FAULT_WRITE, 8);
    every_call_fails(*state, FAULT_TORN, 1);
    every_call_fails(*state, FAULT_SYNC, 3);
    eager = false;
}

static void copy_file(const char *from, const char *to)
{
    static char bytes[1 << 20];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_non_null(out);
    if (in) {
        size_t n = fread(bytes, 1, sizeof bytes, in);
        assert_true(n < sizeof bytes);
        assert_int_equal(fwrite(bytes, 1, n, out), n);
        fclose(in);
    }
    fclose(out);
}

/* A fault, and then the process is gone: what the files hold at that moment is taken up by another
 * one. */
static void fault_and_crash(void **state)
{
    Fixture *f = *state;
    char path[128], wal[140], copy[128], copy_wal[140];
    for (long n = 0;; n++) {
        snprintf(path, sizeof path, "%s/c%ld.index.db", f->dir, n);
        snprintf(wal, sizeof wal, "%s-wal", path);
        snprintf(copy, sizeof copy, "%s/d%ld.index.db", f->dir, n);
        snprintf(copy_wal, sizeof copy_wal, "%s-wal", copy);
        fault.kind = n % 2 ? FAULT_TORN : FAULT_SYNC;
        fault.failures = 1;
        fault.failed = 0;
        Index *index;
        Error err = {0};
        fault.after = -1;
        assert_int_equal(index_open(path, &index, &err), 0);
        fault.after = n / 2;
        int done = 0;
        while (done < TRANSACTIONS && script_transaction(index, done, &err) == 0)
            done++;
        bool any = fault.failed > 0;
        fault.after = -1;
        copy_file(path, copy);
        copy_file(wal, copy_wal);
        Index *after;
        error_clear(&err);
        if (index_open(copy, &after, &err) < 0)
            fail_msg("%s", err.text);
        /* The transaction that failed may be there, all of it: nobody was told of it. */
        int there = script_check(after, done);
        assert_true(there <= done + 1);
        for (int i = there; i < TRANSACTIONS; i++)
            assert_int_equal(script_transaction(after, i, &err), 0);
        script_check(after, TRANSACTIONS);
        index_free(after);
        index_free(index);
        if (!any && n % 2)
            break;
    }
}

static int count_client(const char *name, const char *key, int64_t added_us, void *context)
{
    (void)name;
    (void)key;
    (void)added_us;
    ++*(size_t *)context;
    return 0;
}

/* Forgetting and the list of clients, on such a disk: nothing of it, or all. */
static void forgetting_fails(void **state)
{
    Fixture *f = *state;
    for (int kind = 0; kind < N_FAULTS; kind++) {
        for (long n = 0;; n++) {
            char path[128];
            snprintf(path, sizeof path, "%s/f%d-%ld.index.db", f->dir, kind, n);
            Index *index;
            Error err = {0};
            fault.after = -1;
            assert_int_equal(index_open(path, &index, &err), 0);
            for (int i = 0; i < TRANSACTIONS; i++)
                assert_int_equal(script_transaction(index, i, &err), 0);
            fault.kind = (FaultKind)kind;
            fault.failures = 1;
            fault.failed = 0;
            fault.after = n;
            int r = index_begin(index, &err);
            if (r == 0)
                r = index_forget(index, 4, &err);
            if (r == 0)
                r = index_put_client(index, "alice", "key", &err);
            if (r == 0)
                r = index_commit(index, &err);
            bool any = fault.failed > 0;
            fault.after = -1;
            if (r < 0) {
                is_io_error(&err);
                index_rollback(index);
            }
            uint64_t forgotten;
            size_t clients = 0;
            assert_int_equal(index_forgotten(index, &forgotten, NULL), 0);
            assert_int_equal(index_clients(index, count_client, &clients, NULL), 0);
            assert_int_equal(forgotten, r < 0 ? 0 : 4);
            assert_int_equal(clients, r < 0 ? 0 : 1);
            if (r < 0)
                script_check(index, TRANSACTIONS);
            index_free(index);
            unlink(path);
            if (!any)
                break;
        }
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(disk_full_at_every_write), T(write_fails),     T(write_is_torn),    T(sync_fails),
        T(checkpoint_fails),         T(fault_and_crash), T(forgetting_fails),
    };
    return cmocka_run_group_tests(tests, install, NULL);
}
