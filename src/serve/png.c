/* PNG by libpng, whose errors leave by longjmp: nothing here holds anything that a jump would lose. State: none. */
#include "serve/png.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>

enum { LEVEL = 3 /* zlib's: a third of the time of its preset, for a few percent */ };

struct writing {
    struct bt_buf *out;
    size_t end; /* of `out`, at most */
    baton_status status;
    char why[128]; /* libpng's */
};

static void add(png_structp png, png_bytep bytes, size_t n) {
    struct writing *w = png_get_io_ptr(png);
    if (n > w->end - BT_MIN(w->out->len, w->end))
        w->status = BATON_TOO_LONG;
    else
        bt_buf_add(w->out, bytes, n);
    if (w->out->failed)
        w->status = BATON_NO_MEMORY;
    if (w->status)
        png_error(png, "");
}

static void flush(png_structp png) {
    (void)png;
}

static void on_error(png_structp png, png_const_charp text) {
    struct writing *w = png_get_error_ptr(png);
    snprintf(w->why, sizeof w->why, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png, (void)text;
}

/* False: it jumped. */
static bool write_all(png_structp png, png_infop info, const struct bt_sd_image *image, struct writing *w) {
    static const int types[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                PNG_COLOR_TYPE_RGB_ALPHA};
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_set_write_fn(png, w, add, flush);
    png_set_compression_level(png, LEVEL);
    png_set_IHDR(png, info, image->width, image->height, 8, types[image->channels - 1], PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (uint32_t y = 0; y < image->height; y++)
        png_write_row(png, image->data + (size_t)y * image->width * image->channels);
    png_write_end(png, NULL);
    return true;
}

baton_status bt_png_write(const struct bt_sd_image *image, size_t most, struct bt_buf *out, baton_error *err) {
    struct writing w = {.out = out, .end = out->len + BT_MIN(most, SIZE_MAX - out->len)};
    if (image->channels < 1 || image->channels > 4)
        return bt_fail(err, BATON_UNSUPPORTED, "an image of %u channels: a PNG has 1 to 4", image->channels);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &w, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    bool made = info != NULL, whole = made && write_all(png, info, image, &w);
    png_destroy_write_struct(&png, &info);
    if (whole)
        return BATON_OK;
    if (w.status == BATON_TOO_LONG)
        return bt_fail(err, BATON_TOO_LONG, "an image of %u x %u pixels takes more than %zu bytes as a PNG",
                       image->width, image->height, most);
    if (!made || w.status)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for an image of %u x %u pixels as a PNG", image->width,
                       image->height);
    return bt_fail(err, BATON_FAILED, "libpng writes no image of %u x %u pixels: %s", image->width, image->height,
                   w.why);
}
