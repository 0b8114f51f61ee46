/* Cameras for people and programs. See print_cameras.h. */
#include "client/print_cameras.h"

#include "client/ctl_print.h"

#include <inttypes.h>

static const char INDENT[] = "\n             ";

/* Of all frames that were sampled, those that no model ever saw. */
static double dropped_percent(const When__CameraStatus *c)
{
    uint64_t all = c->frames > c->sent ? c->frames : c->sent;
    all = all > c->dropped ? all : c->dropped;
    return all ? 100.0 * (double)c->dropped / (double)all : 0;
}

static void print_counters(Str *out, const When__CameraStatus *c)
{
    const struct {
        uint64_t n;
        const char *one, *many;
    } all[] = {
        {c->reconnects, "reconnect", "reconnects"},
        {c->stalls, "stall", "stalls"},
        {c->logins_refused, "login refused", "logins refused"},
        {c->damaged, "damaged picture", "damaged pictures"},
        {c->still, "still frame left out", "still frames left out"},
        {c->lost_packets, "packet lost", "packets lost"},
        {c->clock_steps, "clock jump", "clock jumps"},
        {c->format_changes, "change of format", "changes of format"},
        {c->bad_files, "unreadable file", "unreadable files"},
    };
    const char *before = INDENT;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].n == 0)
            continue;
        str_addf(out, "%s%" PRIu64 " %s", before, all[i].n,
                 all[i].n == 1 ? all[i].one : all[i].many);
        before = ", ";
    }
    if (c->reason[0]) {
        str_addf(out, "%slast fault: ", before == INDENT ? INDENT : "; ");
        print_text(out, c->reason);
    }
}

void print_camera(Str *out, const When__CameraStatus *c)
{
    _cleanup_str_ Str name = {0}, state = {0};
    print_text(&name, c->name);
    print_text(&state, c->state);
    str_addf(out, "%-12s %-10s ", str_text(&name), str_text(&state));
    if (c->files || c->bad_files)
        str_addf(out, "%" PRIu64 " file%s; ", c->files, c->files == 1 ? "" : "s");
    else
        str_addf(out, "%5.1f fps in, %4.1f out; ", c->fps_in, c->fps_out);
    str_addf(out, "%" PRIu64 " frames, %" PRIu64 " dropped (%.1f %%)", c->frames, c->dropped,
             dropped_percent(c));
    if (c->done > 0)
        str_addf(out, "; %.0f %% of the file", 100 * c->done);
    if (c->width) {
        str_add_text(out, INDENT);
        print_text(out, c->codec);
        str_addf(out, "%s%" PRIu32 "x%" PRIu32, c->codec[0] ? " " : "", c->width, c->height);
        str_add_text(out, c->decoder[0] ? ", decoded by " : "");
        print_text(out, c->decoder);
    }
    if (c->last_frame_us) {
        str_add_text(out, INDENT);
        str_add_text(out, "last frame ");
        if (c->last_frame_age_us) {
            print_span(out, c->last_frame_age_us);
            str_add_text(out, " ago: ");
        }
        print_time(out, c->last_frame_us, c->utc_err_us);
        str_add_text(out, " (");
        print_text(out, c->utc_source);
        str_add_text(out, ")");
    }
    if (c->recording_bytes) {
        str_add_text(out, INDENT);
        str_add_text(out, "recorded ");
        print_bytes(out, c->recording_bytes);
    }
    print_counters(out, c);
    str_add_text(out, "\n");
}

void json_camera(Str *out, const When__CameraStatus *c)
{
    const struct {
        const char *name, *text;
    } texts[] = {{"name", c->name},     {"state", c->state}, {"utc_source", c->utc_source},
                 {"reason", c->reason}, {"codec", c->codec}, {"decoder", c->decoder}};
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"fps_in", c->fps_in}, {"fps_out", c->fps_out}, {"done", c->done}};
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {{"frames", c->frames},
                  {"sent", c->sent},
                  {"dropped", c->dropped},
                  {"reconnects", c->reconnects},
                  {"stalls", c->stalls},
                  {"logins_refused", c->logins_refused},
                  {"damaged", c->damaged},
                  {"still", c->still},
                  {"cells", c->cells},
                  {"cells_kept", c->cells_kept},
                  {"lost_packets", c->lost_packets},
                  {"clock_steps", c->clock_steps},
                  {"format_changes", c->format_changes},
                  {"files", c->files},
                  {"bad_files", c->bad_files},
                  {"recording_bytes", c->recording_bytes},
                  {"width", c->width},
                  {"height", c->height}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        str_addf(out, "%s\"%s\":", i ? "," : "{", texts[i].name);
        str_add_json(out, texts[i].text);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        str_addf(out, ",\"%s\":", numbers[i].name);
        json_number(out, numbers[i].value);
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        str_addf(out, ",\"%s\":%" PRIu64, counts[i].name, counts[i].value);
    str_addf(out, ",\"utc_err_us\":%" PRId64 ",\"last_frame_us\":%" PRId64, c->utc_err_us,
             c->last_frame_us);
    if (c->last_frame_age_us)
        str_addf(out, ",\"last_frame_age_us\":%" PRId64, c->last_frame_age_us);
    str_add_text(out, "}");
}
