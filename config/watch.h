/*
 * Watches: what config.h's WatchConfig may be, wherever it comes from (whend.yaml, a client).
 */
#ifndef WHEN_CONFIG_WATCH_H
#define WHEN_CONFIG_WATCH_H

#include "config/config.h"

enum { WATCH_MAX_QUESTION_BYTES = 1000 };

/* Names of one-off questions begin so; a watch's does not. */
#define WATCH_QUESTION_PREFIX "ask-"

int watch_config_init(WatchConfig *watch); /* defaults; keeps the name. 0 or -ENOMEM */
void watch_config_deinit(WatchConfig *watch);
int watch_config_copy(WatchConfig *to, const WatchConfig *from); /* 0 or -ENOMEM */

/* EX_DATAERR with *key set to the key of whend.yaml that it is about. */
int watch_config_check(const WatchConfig *watch, const char **key, Error *err);

bool watch_config_equal(const WatchConfig *a, const WatchConfig *b);
/* Does this watch look at this camera? */
bool watch_config_covers(const WatchConfig *watch, const char *camera);

/* `since` as a time: 0 for "all", INT64_MAX for "". -EINVAL when it is none of what it may be. */
int watch_since(const char *since, int64_t now_us, int64_t *since_us);

#endif
