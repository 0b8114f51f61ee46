/* whend.yaml from anybody: no crash; a config or one line with the place. */
#include "config/config.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Config config;
    Error err = {0};
    int rc = config_parse("whend.yaml", "/etc/whend", (const char *)data, size, &config, &err);
    if (rc == 0) {
        assert(config.model_path && config.n_cameras >= 1 &&
               config.n_cameras <= CONFIG_MAX_CAMERAS);
        assert(config.window_us > 0 && config.overlap_us < config.window_us);
        for (size_t i = 0; i < config.n_cameras; i++) {
            const CameraConfig *c = &config.cameras[i];
            assert(c->name[0] && c->url && c->fps_min > 0 && c->fps_min <= c->fps_base &&
                   c->fps_base <= c->fps_max);
            assert(camera_config_equal(c, c));
        }
        for (size_t i = 0; i < config.n_watches; i++)
            assert(config.watches[i].question[0]);
    } else {
        assert(err.exit_code == EX_CONFIG && !strchr(err.text, '\n'));
        assert(strncmp(err.text, "whend.yaml:", 11) == 0);
    }
    config_deinit(&config);
    return 0;
}
