/* whenctl key: who may connect to whend from elsewhere. */
#include "client/ctl.h"

#include "client/ctl_print.h"
#include "config/keyfile.h"
#include "config/value.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

static int usage(Error *err)
{
    return error_set(err, EINVAL, EX_USAGE,
                     "key what? new FILE, allow NAME PUBLIC-KEY, revoke NAME or list (whenctl "
                     "--help)");
}

int ctl_key_check(const Ctl *ctl, Error *err)
{
    static const struct {
        const char *name;
        size_t words;
    } FORMS[] = {{"new", 2}, {"allow", 3}, {"revoke", 2}, {"list", 1}};
    for (size_t i = 0; ctl->n_words > 0 && i < sizeof FORMS / sizeof FORMS[0]; i++)
        if (strcmp(ctl->words[0], FORMS[i].name) == 0 && ctl->n_words == FORMS[i].words)
            return 0;
    return usage(err);
}

bool ctl_key_is_local(const Ctl *ctl)
{
    return strcmp(ctl->words[0], "new") == 0;
}

/* A pair of keys in a file; what whend's owner needs to know is printed. */
static int make(const Ctl *ctl, Error *err)
{
    KeyFile keys = {0};
    if (ctl->server_key && !keyfile_is_key(ctl->server_key))
        return error_set(err, EINVAL, EX_USAGE,
                         "--server-key: not a public key (40 characters, see whenctl key list)");
    if (ctl->server_key)
        memcpy(keys.server_key, ctl->server_key, KEY_BYTES);
    if (zmq_curve_keypair(keys.public_key, keys.secret_key) < 0)
        return error_set(err, errno, EX_UNAVAILABLE, "this libzmq has no CURVE: %s",
                         zmq_strerror(errno));
    int r = keyfile_write(ctl->words[1], &keys, err);
    if (r == 0)
        printf("%s\n", keys.public_key);
    keyfile_forget(&keys);
    return r;
}

static int take(const When__Response *response, void *context)
{
    const Ctl *ctl = context;
    if (response->body_case != WHEN__RESPONSE__BODY_KEYS)
        return -EBADMSG;
    const When__KeysResponse *k = response->keys;
    _cleanup_str_ Str out = {0};
    if (ctl->json) {
        str_add_text(&out, "{\"server_key\":");
        str_add_json(&out, k->server_key);
        str_add_text(&out, ",\"query\":");
        str_add_json(&out, k->query);
        str_add_text(&out, ",\"events\":");
        str_add_json(&out, k->events);
        str_add_text(&out, ",\"keys\":[");
    } else {
        str_add_text(&out, "server key  ");
        print_text(&out, k->server_key);
        str_add_text(&out, "\nquery       ");
        print_text(&out, k->query[0] ? k->query : "none");
        str_add_text(&out, "\nevents      ");
        print_text(&out, k->events[0] ? k->events : "none");
        str_add_text(&out, k->n_keys ? "\n" : "\nallowed     nobody\n");
    }
    for (size_t i = 0; i < k->n_keys; i++) {
        const When__ClientKey *key = k->keys[i];
        if (ctl->json) {
            str_add_text(&out, i ? ",{\"name\":" : "{\"name\":");
            str_add_json(&out, key->name);
            str_add_text(&out, ",\"public_key\":");
            str_add_json(&out, key->public_key);
            str_addf(&out, ",\"added_us\":%lld}", (long long)key->added_us);
        } else {
            str_add_text(&out, i ? "            " : "allowed     ");
            print_text(&out, key->public_key);
            str_add_text(&out, "  ");
            print_text(&out, key->name);
            str_add_text(&out, "\n");
        }
    }
    str_add_text(&out, ctl->json ? "]}\n" : "");
    if (str_failed(&out))
        return -ENOMEM;
    fwrite(str_text(&out), 1, out.len, stdout);
    return 0;
}

int ctl_key(Ctl *ctl, Error *err)
{
    if (ctl_key_is_local(ctl))
        return make(ctl, err);
    When__KeysRequest keys = WHEN__KEYS_REQUEST__INIT;
    When__Request request = WHEN__REQUEST__INIT;
    request.body_case = WHEN__REQUEST__BODY_KEYS;
    request.keys = &keys;
    if (strcmp(ctl->words[0], "allow") == 0) {
        keys.action = WHEN__KEY_ACTION__KEY_ACTION_ALLOW;
        keys.name = ctl->words[1];
        keys.public_key = ctl->words[2];
    } else if (strcmp(ctl->words[0], "revoke") == 0) {
        keys.action = WHEN__KEY_ACTION__KEY_ACTION_REVOKE;
        keys.name = ctl->words[1];
    }
    return when_request(ctl->when, &request, 0, take, ctl, err);
}
