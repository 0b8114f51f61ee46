/* Certificates of cameras. See tls.h. */
#include "pipeline/tls.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int tls_trust_init(TlsTrust *trust, const char *ca_path, bool unchecked, Error *err)
{
    *trust = (TlsTrust){.unchecked = unchecked};
    if (!g_tls_backend_supports_tls(g_tls_backend_get_default()))
        return error_set(err, ENOSYS, EX_UNAVAILABLE,
                         "no TLS is installed (apt-get install glib-networking)");
    if (!ca_path || !*ca_path)
        return 0;
    if (access(ca_path, R_OK) < 0)
        return error_set(err, errno, EX_NOINPUT, "tls_ca: %s: %s", ca_path, strerror(errno));
    GError *error = NULL;
    trust->own = g_tls_certificate_list_new_from_file(ca_path, &error);
    if (trust->own && !error)
        trust->database = G_TLS_DATABASE(g_tls_file_database_new(ca_path, &error));
    if (trust->database)
        return 0;
    g_clear_error(&error);
    tls_trust_deinit(trust);
    return error_set(err, EINVAL, EX_CONFIG, "tls_ca: %s: no certificate in PEM form in it",
                     ca_path);
}

void tls_trust_deinit(TlsTrust *trust)
{
    g_clear_object(&trust->database);
    g_list_free_full(trust->own, g_object_unref);
    trust->own = NULL;
}

bool tls_trust_accepts(const TlsTrust *trust, GTlsCertificate *certificate)
{
    for (const GList *item = trust->own; item; item = item->next)
        if (g_tls_certificate_is_same(item->data, certificate))
            return true;
    return trust->unchecked;
}
