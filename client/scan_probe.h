/*
 * whenscan --probe URL: what a camera, file or URL offers, before it stands in whend.yaml: codec,
 * size, rate, where UTC comes from, how far the camera's clock is off; or why there is nothing.
 */
#ifndef WHEN_CLIENT_SCAN_PROBE_H
#define WHEN_CLIENT_SCAN_PROBE_H

/* argv[1] is --probe. The exit code: 0, or of sysexits.h. */
int scan_probe_main(int argc, char **argv);

#endif
