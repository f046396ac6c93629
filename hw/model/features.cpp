// LOAD_FEATURES: feature maps from DDR into the feature memory.

#include <algorithm>

#include "machine.h"

namespace nibble {
namespace {

// Rows of the tile that come from DDR; the others are padding.
int64_t rows_from_ddr(const LoadFeatures& i) {
  return std::max<int64_t>(0, int64_t{i.rows} - i.pad_top - i.pad_bottom);
}

int64_t source_row(const LoadFeatures& i, int64_t r) {
  return i.upsample ? (r - i.pad_top + i.phase) >> 1 : r - i.pad_top;
}

// Byte q of a row, where it lies in the row in DDR.
int64_t source_byte(const LoadFeatures& i, int64_t q, int64_t pixel) {
  return i.upsample ? ((q / pixel) >> 1) * pixel + q % pixel : q;
}

// The bytes [first, end) of a row that are read; end = first when there are none.
struct Extent {
  int64_t first, end;
};

Extent extent(const LoadFeatures& i, int64_t pixel) {
  if (i.width == 0 || rows_from_ddr(i) == 0) return {0, 0};
  const auto window_end = [&](int64_t c) { return c * i.pitch + i.lanes - i.pad_left; };
  // The first window that ends beyond byte 0, and the last that begins before `width`.
  const int64_t first_window = std::max<int64_t>(0, (int64_t{i.pad_left} - i.lanes + i.pitch) / i.pitch);
  const int64_t last_window = std::min<int64_t>(i.cols - 1, (int64_t{i.width} - 1 + i.pad_left) / i.pitch);
  const int64_t first = std::max<int64_t>(0, first_window * i.pitch - i.pad_left);
  const int64_t last = std::min<int64_t>(i.width, window_end(last_window)) - 1;
  if (first_window > last_window || first > last) return {0, 0};
  if (!i.upsample) return {first, last + 1};
  // A partial last pixel may end before the one to its left.
  const int64_t before = std::max<int64_t>(first, last / pixel * pixel - 1);
  const int64_t end = std::max(source_byte(i, last, pixel), source_byte(i, before, pixel)) + 1;
  return {source_byte(i, first, pixel), end};
}

uint8_t flip_mask(const LoadFeatures& i) { return !i.flip ? 0 : i.half ? 0x88 : 0x80; }

void copy_flipped(uint8_t* target, const uint8_t* source, int64_t bytes, uint8_t mask) {
  std::memcpy(target, source, bytes);
  if (mask) {
    for (int64_t n = 0; n < bytes; ++n) target[n] ^= mask;
  }
}

// The definition, byte by byte: pixel c of a row that begins at `row` in DDR.
void load_pixel(uint8_t* target, const uint8_t* row, const LoadFeatures& i, int64_t c, int64_t pixel) {
  for (int64_t l = 0; l < pixel; ++l) {
    const int64_t q = c * i.pitch + l - i.pad_left;
    const bool inside = l < i.lanes && q >= 0 && q < i.width;
    target[l] = inside ? row[source_byte(i, q, pixel)] ^ flip_mask(i) : i.pad;
  }
}

// The same for a whole pixel inside the row.
void load_inner_pixel(uint8_t* target, const uint8_t* row, const LoadFeatures& i, int64_t q, int64_t pixel) {
  copy_flipped(target, row + source_byte(i, q, pixel), i.lanes, flip_mask(i));
  std::memset(target + i.lanes, static_cast<int>(i.pad), pixel - i.lanes);
}

void load_row_by_pixels(uint8_t* target, const uint8_t* row, const LoadFeatures& i, int64_t pixel, bool fast) {
  for (int64_t c = 0; c < i.cols; ++c) {
    const int64_t q = c * i.pitch - i.pad_left;
    const bool inner = q >= 0 && q + i.lanes <= i.width && (!i.upsample || q % pixel == 0);
    if (fast && inner) {
      load_inner_pixel(target + c * pixel, row, i, q, pixel);
    } else {
      load_pixel(target + c * pixel, row, i, c, pixel);
    }
  }
}

// The same for a row whose pixels follow each other in DDR.
void load_contiguous_row(uint8_t* target, const uint8_t* row, const LoadFeatures& i, int64_t pixel) {
  const int64_t total = i.cols * pixel;
  const int64_t left = std::min<int64_t>(i.pad_left, total);
  const int64_t copied = std::min<int64_t>(i.width, total - left);
  std::memset(target, static_cast<int>(i.pad), left);
  copy_flipped(target + left, row, copied, flip_mask(i));
  std::memset(target + left + copied, static_cast<int>(i.pad), total - left - copied);
}

}  // namespace

Error check(const Machine& m, const LoadFeatures& i) {
  const uint32_t pixel = m.pixel_bytes(i.half);
  if (!i.blocks || !i.rows || !i.cols || !i.pitch || !i.lanes || i.lanes > pixel) return Error::illegal_instruction;
  if (i.upsample && (i.pitch != pixel || i.lanes != pixel)) return Error::illegal_instruction;
  const Extent read = extent(i, pixel);
  const uint64_t last_row = source_row(i, i.pad_top + rows_from_ddr(i) - 1);
  const uint64_t blocks_before = (i.blocks - 1) * uint64_t{i.block_stride};
  if (read.end > read.first && i.source + blocks_before + last_row * i.row_stride + read.end > m.ddr.size) {
    return Error::ddr_range;
  }
  const uint64_t written = uint64_t{i.blocks} * i.rows * i.cols * pixel;
  return i.address * uint64_t{m.unit()} + written > m.size.feature_bytes ? Error::feature_range : Error::none;
}

void execute(Machine& m, const LoadFeatures& i) {
  const int64_t pixel = m.pixel_bytes(i.half);
  const Extent read = extent(i, pixel);
  const bool contiguous = m.fast && !i.upsample && i.pitch == pixel && i.lanes == pixel;
  uint8_t* target = m.features.data() + uint64_t{i.address} * m.unit();
  for (uint32_t k = 0; k < i.blocks; ++k) {
    for (int64_t r = 0; r < i.rows; ++r, target += i.cols * pixel) {
      if (read.end == read.first || r < i.pad_top || r >= int64_t{i.rows} - i.pad_bottom) {
        std::memset(target, static_cast<int>(i.pad), i.cols * pixel);
        continue;
      }
      const uint8_t* row =
          m.ddr.data + i.source + k * uint64_t{i.block_stride} + source_row(i, r) * uint64_t{i.row_stride};
      if (contiguous) {
        load_contiguous_row(target, row, i, pixel);
      } else {
        load_row_by_pixels(target, row, i, pixel, m.fast);
      }
    }
  }
  m.counters.feature_bytes += i.blocks * rows_from_ddr(i) * (read.end - read.first);
}

}  // namespace nibble
