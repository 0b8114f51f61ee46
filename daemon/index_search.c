/*
 * Index: questions in words. A question's content words are found by the same tokenizer that the
 * full text uses (porter over unicode61, in a database in memory), so that "drives" and "driving"
 * meet. No text of a question ever becomes syntax: each word is quoted.
 */
#include "daemon/index_internal.h"

#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_QUESTION_BYTES = 8192, MAX_WORDS = 64 };

/* Words that only make a question of it. In order of the alphabet. */
static const char *const STOP_WORDS[] = {
    "a",    "an",    "and",  "any",  "are",  "at",   "be",   "been", "being", "did",
    "do",   "does",  "done", "ever", "had",  "has",  "have", "in",   "is",    "it",
    "its",  "of",    "on",   "s",    "t",    "that", "the",  "then", "there", "this",
    "time", "times", "to",   "was",  "were", "what", "when"};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_stop_word(const char *word)
{
    return bsearch(&word, STOP_WORDS, sizeof STOP_WORDS / sizeof STOP_WORDS[0],
                   sizeof STOP_WORDS[0], by_text) != NULL;
}

int index_words_open(Index *index, Error *err)
{
    static const char TABLES[] = "CREATE VIRTUAL TABLE words USING fts5 (word, tokenize ="
                                 " 'porter unicode61 remove_diacritics 2');"
                                 "CREATE VIRTUAL TABLE terms USING fts5vocab (words, 'instance');";
    if (sqlite3_open_v2(":memory:", &index->words,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) == SQLITE_OK &&
        sqlite3_exec(index->words, TABLES, NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_prepare_v3(index->words, "DELETE FROM words", -1, SQLITE_PREPARE_PERSISTENT,
                           &index->words_clear, NULL) == SQLITE_OK &&
        sqlite3_prepare_v3(index->words, "INSERT INTO words (rowid, word) VALUES (?1, ?2)", -1,
                           SQLITE_PREPARE_PERSISTENT, &index->words_put, NULL) == SQLITE_OK &&
        sqlite3_prepare_v3(index->words, "SELECT DISTINCT term, doc FROM terms ORDER BY term, doc",
                           -1, SQLITE_PREPARE_PERSISTENT, &index->words_get, NULL) == SQLITE_OK)
        return 0;
    return error_set(err, ENOTSUP, EX_UNAVAILABLE,
                     "SQLite cannot search text: %s (a libsqlite3 with FTS5 is needed)",
                     sqlite3_errmsg(index->words));
}

void index_words_close(Index *index)
{
    sqlite3_finalize(index->words_clear);
    sqlite3_finalize(index->words_put);
    sqlite3_finalize(index->words_get);
    sqlite3_close(index->words);
}

static bool is_word_byte(unsigned char c)
{
    return isalnum(c) || c >= 0x80;
}

/* The words of a question that are no stop words, as written (but ASCII in lower case). */
typedef struct Words {
    char text[MAX_QUESTION_BYTES + 1]; /* cut into words by NULs */
    const char *words[MAX_WORDS];
    bool found[MAX_WORDS]; /* has something that the full text would find */
    size_t n;
} Words;

static int read_words(const char *question, Words *words, Error *err)
{
    size_t length = strlen(question);
    words->n = 0;
    if (length > MAX_QUESTION_BYTES)
        return error_set(err, E2BIG, EX_DATAERR,
                         "the question is %zu bytes long; the limit is %d: ask a shorter one",
                         length, MAX_QUESTION_BYTES);
    memcpy(words->text, question, length + 1);
    for (char *p = words->text; *p;) {
        if (!is_word_byte((unsigned char)*p)) {
            p++;
            continue;
        }
        char *start = p;
        for (; is_word_byte((unsigned char)*p); p++)
            if (*p >= 'A' && *p <= 'Z')
                *p = (char)(*p - 'A' + 'a');
        bool last = *p == '\0';
        *p = '\0';
        bool known = is_stop_word(start);
        for (size_t i = 0; !known && i < words->n; i++)
            known = strcmp(words->words[i], start) == 0;
        if (!known) {
            if (words->n == MAX_WORDS)
                return error_set(err, E2BIG, EX_DATAERR,
                                 "the question has more than %d words that count: ask a shorter "
                                 "one",
                                 MAX_WORDS);
            words->found[words->n] = false;
            words->words[words->n++] = start;
        }
        if (!last)
            p++;
    }
    return 0;
}

static int words_fail(Index *index, Error *err)
{
    int r = error_set(err, EIO, EX_OSERR, "cannot cut a question into words: %s",
                      sqlite3_errmsg(index->words));
    sqlite3_reset(index->words_clear);
    sqlite3_reset(index->words_put);
    sqlite3_reset(index->words_get);
    return r;
}

/* The question's content words; `stems` gets them stemmed, each once, in order of the alphabet,
 * with a space between. -EINVAL with EX_DATAERR when there are none. */
static int stem(Index *index, const char *question, Words *words, Str *stems, Error *err)
{
    int r = read_words(question, words, err);
    if (r < 0)
        return r;
    if (sqlite3_step(index->words_clear) != SQLITE_DONE)
        return words_fail(index, err);
    sqlite3_reset(index->words_clear);
    for (size_t i = 0; i < words->n; i++) {
        sqlite3_bind_int64(index->words_put, 1, (int64_t)i + 1);
        index_bind_text(index->words_put, 2, words->words[i]);
        if (sqlite3_step(index->words_put) != SQLITE_DONE)
            return words_fail(index, err);
        sqlite3_reset(index->words_put);
        sqlite3_clear_bindings(index->words_put);
    }
    _cleanup_str_ Str last = {0};
    int step;
    while ((step = sqlite3_step(index->words_get)) == SQLITE_ROW) {
        const char *term = (const char *)sqlite3_column_text(index->words_get, 0);
        int64_t doc = sqlite3_column_int64(index->words_get, 1);
        if (!term || doc < 1 || (size_t)doc > words->n)
            continue;
        words->found[doc - 1] = true;
        if (strcmp(str_text(&last), term) == 0)
            continue;
        str_clear(&last);
        str_add_text(&last, term);
        str_addf(stems, "%s%s", stems->len ? " " : "", term);
    }
    if (step != SQLITE_DONE)
        return words_fail(index, err);
    sqlite3_reset(index->words_get);
    if (str_failed(stems) || str_failed(&last))
        return error_set(err, ENOMEM, EX_OSERR, "no memory for a question");
    if (stems->len == 0)
        return error_set(err, EINVAL, EX_DATAERR,
                         "the question names nothing to look for: say what should have happened, "
                         "as in \"when did a red car drive past?\"");
    return 0;
}

int index_search(Index *index, const char *question, const IndexFilter *filter, IndexEventSink sink,
                 void *context, Error *err)
{
    static const char DOING[] = "search";
    Words words;
    _cleanup_str_ Str stems = {0}, match = {0};
    int r = stem(index, question, &words, &stems, err);
    if (r < 0)
        return r;
    /* Words of letters, digits and bytes above ASCII: no quote can be in them. */
    for (size_t i = 0; i < words.n; i++)
        if (words.found[i])
            str_addf(&match, "%s\"%s\"", match.len ? " AND " : "", words.words[i]);
    if (str_failed(&match))
        return error_set(err, ENOMEM, EX_OSERR, "no memory for a question");
    sqlite3_stmt *s = index_acquire(index, STATEMENT_SEARCH, DOING, err);
    if (!s)
        return -EIO;
    r = index_bind_filter(s, filter, err);
    if (r == 0 && sqlite3_bind_text(s, 6, str_text(&match), -1, SQLITE_TRANSIENT) != SQLITE_OK)
        r = index_fail(index, DOING, err);
    if (r < 0) {
        index_release(index, STATEMENT_SEARCH, s);
        return r;
    }
    return index_walk_events(index, STATEMENT_SEARCH, s, DOING, sink, context, err);
}

int index_stem(Index *index, const char *question, Str *stems, Error *err)
{
    Words words;
    return stem(index, question, &words, stems, err);
}
