// The block of the papers for inference on a CPU: K, activation, interleave, L, activation and sum, tile by tile.
//
// Vector lanes run over pixels. A tile is 1 to 4 vectors of pixels, a weight is a scalar that is broadcast to all
// lanes, and the interleave is nothing but the choice of the rows that L reads. So groups of one or two filters waste
// no lanes, and what K makes of a tile never leaves the cache.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#if defined(__AVX512F__) || defined(__AVX__)
#include <immintrin.h>
#endif

namespace kswap {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
constexpr int kMostVectors = 4;  // of pixels in a tile
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kMostFilters = 4;  // 4 x 4 sums, 4 inputs and a weight fit 32 registers
#else
constexpr int kMostFilters = 2;
#endif
constexpr int kMostPixels = kMostVectors * kLanes;

typedef float Vector __attribute__((vector_size(kLanes * 4)));
typedef int32_t Integers __attribute__((vector_size(kLanes * 4)));
typedef uint32_t Bits __attribute__((vector_size(kLanes * 4)));
typedef uint16_t Halves __attribute__((vector_size(kLanes * 2)));
typedef float Unaligned __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }

// The first `count` lanes only, fewer than all.
inline void store_first(float* to, Vector value, int count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), (__m512)value);
#else
  for (int lane = 0; lane < count; ++lane) to[lane] = value[lane];
#endif
}

inline Vector load_first(const float* from, int count) {
#if defined(__AVX512F__)
  return (Vector)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
#else
  Vector value = {};
  for (int lane = 0; lane < count; ++lane) value[lane] = from[lane];
  return value;
#endif
}

// The upper half of a float32. Tensors may hold such numbers; all arithmetic is in float32.
struct Bfloat16 {
  uint16_t bits;
};
typedef uint16_t UnalignedHalves __attribute__((vector_size(kLanes * 2), aligned(2), may_alias));

inline float number(float value) { return value; }
inline float number(Bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline Vector widened(Halves halves) { return (Vector)(__builtin_convertvector(halves, Bits) << 16); }

// To the nearest, of two the even one; NaN stays NaN.
inline Halves narrowed(Vector value) {
  const Bits bits = (Bits)value, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return __builtin_convertvector((Bits)(value == value) & rounded | (Bits)(value != value) & 0x7fc0, Halves);
}

inline Vector load(const Bfloat16* from) { return widened(*reinterpret_cast<const UnalignedHalves*>(from)); }
inline void store(Bfloat16* to, Vector value) { *reinterpret_cast<UnalignedHalves*>(to) = narrowed(value); }

inline void store_first(Bfloat16* to, Vector value, int count) {
  const Halves halves = narrowed(value);
  for (int lane = 0; lane < count; ++lane) to[lane].bits = halves[lane];
}

inline Vector load_first(const Bfloat16* from, int count) {
  Halves halves = {};
  for (int lane = 0; lane < count; ++lane) halves[lane] = from[lane].bits;
  return widened(halves);
}

// Numbers of kswap.native.operator.
enum class Activation : int64_t { none, relu, relu6, silu, sigmoid, hard_swish, hard_sigmoid };

// 1 + exp(-x), with a relative error of 2e-7, which grows to 7e-6 where it is 1e38; infinite from x = -88.7 down, NaN
// for NaN.
inline Vector one_plus_exp_of_minus(Vector x) {
  constexpr float log2_e = 1.44269504088896341f, round = 12582912.0f;  // 1.5 * 2**23: adding it rounds to an integer
  Vector power = x * -log2_e;
  power = power > 128.0f ? Vector{} + 128.0f : power;
  power = power < -126.0f ? Vector{} - 126.0f : power;
  const Vector shifted = power + round;
  const Vector rest = power - (shifted - round);
  Vector sum = rest * 1.33335581e-3f + 9.61812911e-3f;  // 2**rest on [-0.5, 0.5]
  sum = sum * rest + 5.55041087e-2f;
  sum = sum * rest + 2.40226507e-1f;
  sum = sum * rest + 6.93147181e-1f;
  sum = sum * rest + 1.0f;
  return (Vector)((Integers)sum + ((Integers)shifted << 23)) + 1.0f;
}

inline Vector between(Vector x, float least, float most) {  // NaN stays
  x = x < least ? Vector{} + least : x;
  return x > most ? Vector{} + most : x;
}

template <class Function>
inline __attribute__((always_inline)) void each(Vector* values, int count, Function function) {
  for (int i = 0; i < count; ++i) values[i] = function(values[i]);
}

// In place, on `count` vectors.
inline __attribute__((always_inline)) void activate(Activation activation, Vector* values, int count) {
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return each(values, count, [](Vector x) { return x < 0.0f ? Vector{} : x; });
    case Activation::relu6:
      return each(values, count, [](Vector x) { return between(x, 0.0f, 6.0f); });
    case Activation::silu:
      return each(values, count, [](Vector x) { return x / one_plus_exp_of_minus(x); });
    case Activation::sigmoid:
      return each(values, count, [](Vector x) { return 1.0f / one_plus_exp_of_minus(x); });
    case Activation::hard_swish:
      return each(values, count, [](Vector x) { return x * between(x + 3.0f, 0.0f, 6.0f) / 6.0f; });
    case Activation::hard_sigmoid:
      return each(values, count, [](Vector x) { return between(x + 3.0f, 0.0f, 6.0f) / 6.0f; });
  }
}

// A grouped pointwise layer. Group g reads `width` inputs from g * width on, which start again at 0 after the last one
// (replication), and makes the filters from g * filters on; the first `extra` groups make one more filter each, which
// stand after all others (the second path).
struct Layer {
  int64_t inputs, outputs, groups, width, filters, extra;
  const float* weight;  // (outputs, width)
  const float* bias;    // (outputs)
  Activation activation;

  int64_t row(int64_t group, int64_t filter) const {
    return filter < filters ? group * filters + filter : groups * filters + group;
  }
  int64_t filters_of(int64_t group) const { return filters + (group < extra); }
};

struct Block {
  Layer k;
  bool has_l;
  Layer l;
  std::vector<int64_t> order;  // the output of K that each input of L is
  bool sum;
};

// Pixels of a tensor (N, C, H, W): channel c of pixel p is at data + pixel offset + c * channel.
template <class Number>
struct Source {
  const Number* data;
  const Number* end;                    // of the memory that the tensor may read
  int64_t image, channel, line, pixel;  // strides of N, C, H and W, those of the layer multiplied in
  int64_t height, width;                // of the output
};

// How a tile of the output is written: planes of pixels (contiguous), or rows of channels (channels_last).
template <class Number>
struct Destination {
  Number* data;
  int64_t channels, pixels;  // of an image
  bool rows;
};

// F filters of M vectors of pixels: all sums in registers.
template <int F, int M>
inline __attribute__((always_inline)) void multiply(
    const float* const* inputs, int64_t width, const float* const* weights, const float* biases, Vector (&sums)[F * M]) {
#pragma GCC unroll 4
  for (int f = 0; f < F; ++f)
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) sums[f * M + m] = Vector{} + biases[f];
  for (int64_t i = 0; i < width; ++i) {
    Vector x[M];
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) x[m] = load(inputs[i] + m * kLanes);
#pragma GCC unroll 4
    for (int f = 0; f < F; ++f)
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) sums[f * M + m] += x[m] * weights[f][i];
  }
}

// Computes tiles of one block, with memory of its own: one for each thread.
template <class Number, int M>
class Tile {
 public:
  static constexpr int pixels = M * kLanes;

  Tile(const Block& block, const Source<Number>& source, const Destination<Number>& destination,
       std::vector<float>& memory)
      : block_(block), source_(source), destination_(destination) {
    const int64_t widest = std::max(block.k.width, block.has_l ? block.l.width : 0);
    const int64_t packed = (block.k.width + kLanes) * pixels, middle = block.has_l ? block.k.outputs * pixels : 0;
    const int64_t last = destination.rows ? (block.k.outputs + kLanes) * pixels : 0;
    const int64_t wanted = packed + middle + last + kLanes;
    if (static_cast<int64_t>(memory.size()) < wanted) memory.resize(wanted);
    auto start = (reinterpret_cast<uintptr_t>(memory.data()) + 4 * kLanes - 1) / (4 * kLanes) * (4 * kLanes);
    packed_ = reinterpret_cast<float*>(start);
    middle_ = packed_ + packed;
    last_ = middle_ + middle;
    pointers_.resize(widest);
  }

  // Pixels `first` to `first + count - 1`: of image `image` where the output is planes, of all images where it is rows.
  void compute(int64_t image, int64_t first, int count) {
    image_ = image, first_ = first, count_ = count;
    locate();
    const Layer& k = block_.k;
    for (int64_t g = 0; g < k.groups; ++g) {
      read(g);
      filters(k, g, block_.has_l);
    }
    if (block_.has_l) {
      const Layer& l = block_.l;
      for (int64_t g = 0; g < l.groups; ++g) {
        for (int64_t i = 0, from = g * l.width; i < l.width; ++i, ++from) {
          if (from >= l.inputs) from -= l.inputs;
          pointers_[i] = middle_ + block_.order[from] * pixels;
        }
        filters(l, g, false);
      }
    }
    if (destination_.rows) write_rows();
  }

 private:
  // Where each pixel of the tile is.
  void locate() {
    const int64_t area = source_.height * source_.width;
    const bool follows = source_.pixel == 1 && source_.line == source_.width;
    is_plane_ = follows && !destination_.rows;
    if (is_plane_) {
      offsets_[0] = image_ * source_.image + first_;
      return;
    }
    int64_t n = image_, p = first_;
    if (destination_.rows) n = first_ / area, p = first_ % area;
    int64_t y = p / source_.width, x = p % source_.width;
    for (int j = 0; j < count_; ++j) {
      offsets_[j] = n * source_.image + y * source_.line + x * source_.pixel;
      if (++x == source_.width) {
        x = 0;
        if (++y == source_.height) y = 0, ++n;
      }
    }
    std::fill(offsets_ + count_, offsets_ + pixels, offsets_[0]);
  }

  // Points to the inputs of a group of K, which are copied and transposed where they do not lie as needed.
  void read(int64_t group) {
    const Layer& k = block_.k;
    const int64_t from = group * k.width;
    if (is_plane_) return read_planes(from, k.filters_of(group));
    for (int64_t i = 0; i < k.width; ++i) pointers_[i] = packed_ + i * pixels;
    if (source_.channel == 1) return read_rows(from);
    for (int64_t i = 0; i < k.width; ++i) {
      const Number* channel = source_.data + (from + i) % k.inputs * source_.channel;
      for (int j = 0; j < pixels; ++j) packed_[i * pixels + j] = number(channel[offsets_[j]]);
    }
  }

  // Lanes beyond the tile hold other pixels, or zeros at the end of the memory; they are never written.
  void read_planes(int64_t from, int64_t filters) {
    [[maybe_unused]] const bool copies = filters > 2 * kMostFilters;
    for (int64_t i = 0; i < block_.k.width; ++i) {
      const Number* plane = source_.data + offsets_[0] + (from + i) % block_.k.inputs * source_.channel;
      float* copy = packed_ + i * pixels;
      if constexpr (std::is_same_v<Number, float>) {
        if (!copies && plane + pixels <= source_.end) {
          pointers_[i] = plane;
          continue;
        }
      }
      for (int m = 0; m < M; ++m) {
        const int64_t left = source_.end - plane - m * kLanes;
        store(copy + m * kLanes, left >= kLanes ? load(plane + m * kLanes)
                                                : left > 0 ? load_first(plane + m * kLanes, left) : Vector{});
      }
      pointers_[i] = copy;
    }
  }

  void read_rows(int64_t from) {
    const Layer& k = block_.k;
    for (int64_t i = 0; i < k.width;) {
      const int64_t channel = (from + i) % k.inputs;
      const int run = static_cast<int>(std::min<int64_t>({k.width - i, k.inputs - channel, kLanes}));
      for (int m = 0; m < M; ++m) {
        Vector square[kLanes];
        for (int j = 0; j < kLanes; ++j) {
          const int pixel = m * kLanes + j;
          const Number* row = source_.data + offsets_[pixel] + channel;
          __builtin_prefetch(row + 2 * kLanes);
          if (pixel >= count_)
            square[j] = Vector{};
          else
            square[j] = row + kLanes <= source_.end ? load(row) : load_first(row, run);
        }
        transpose(square);
        for (int c = 0; c < kLanes; ++c) store(packed_ + (i + c) * pixels + m * kLanes, square[c]);
      }
      i += run;
    }
  }

  static inline __attribute__((always_inline)) void transpose(Vector (&square)[kLanes]) {
    // Swaps the halves of ever larger blocks: of 1, 2, 4 and 8 lanes.
#pragma GCC unroll 4
    for (int step = 1; step < kLanes; step *= 2)
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j)
        if (!(j & step)) {
          Integers low, high;
          for (int lane = 0; lane < kLanes; ++lane) {
            low[lane] = lane & step ? kLanes + lane - step : lane;
            high[lane] = lane & step ? kLanes + lane : lane + step;
          }
          const Vector a = square[j], b = square[j + step];
          square[j] = shuffle(a, b, low);
          square[j + step] = shuffle(a, b, high);
        }
  }

  static inline __attribute__((always_inline)) Vector shuffle(Vector a, Vector b, Integers lanes) {
#if defined(__clang__)
    Vector result;
    for (int lane = 0; lane < kLanes; ++lane) result[lane] = lanes[lane] < kLanes ? a[lanes[lane]] : b[lanes[lane] - kLanes];
    return result;
#else
    return __builtin_shuffle(a, b, lanes);
#endif
  }

  void filters(const Layer& layer, int64_t group, bool to_middle) {
    const int64_t count = layer.filters_of(group);
    int64_t filter = 0;
    for (; filter + kMostFilters <= count; filter += kMostFilters) some<kMostFilters>(layer, group, filter, to_middle);
    switch (count - filter) {
      case 3:
        return some<3>(layer, group, filter, to_middle);
      case 2:
        return some<2>(layer, group, filter, to_middle);
      case 1:
        return some<1>(layer, group, filter, to_middle);
    }
  }

  template <int F>
  __attribute__((noinline)) void some(const Layer& layer, int64_t group, int64_t filter, bool to_middle) {
    int64_t rows[F];
    const float* weights[F];
    float biases[F];
    for (int f = 0; f < F; ++f) {
      rows[f] = layer.row(group, filter + f);
      weights[f] = layer.weight + rows[f] * layer.width;
      biases[f] = layer.bias[rows[f]];
    }
    Vector sums[F * M];
    multiply<F, M>(pointers_.data(), layer.width, weights, biases, sums);
    activate(layer.activation, sums, F * M);
    const bool adds = &layer == &block_.l && block_.sum;
    for (int f = 0; f < F; ++f) {
      Vector* row = sums + f * M;
      if (adds)
        for (int m = 0; m < M; ++m) row[m] += load(middle_ + rows[f] * pixels + m * kLanes);
      if (to_middle)
        put(middle_ + rows[f] * pixels, row);
      else if (destination_.rows)
        put(last_ + rows[f] * pixels, row);
      else
        put_plane(rows[f], row);
    }
  }

  static void put(float* to, const Vector* row) {
    for (int m = 0; m < M; ++m) store(to + m * kLanes, row[m]);
  }

  void put_plane(int64_t channel, const Vector* row) {
    Number* to = destination_.data + (image_ * destination_.channels + channel) * destination_.pixels + first_;
    for (int m = 0; m < M; ++m) {
      const int left = count_ - m * kLanes;
      if (left >= kLanes)
        store(to + m * kLanes, row[m]);
      else if (left > 0)
        store_first(to + m * kLanes, row[m], left);
    }
  }

  void write_rows() {
    const int64_t channels = destination_.channels;
    for (int64_t c = 0; c < channels; c += kLanes) {
      const int run = static_cast<int>(std::min<int64_t>(channels - c, kLanes));
      for (int m = 0; m < M && m * kLanes < count_; ++m) {
        Vector square[kLanes];
        for (int i = 0; i < kLanes; ++i) square[i] = load(last_ + (c + i) * pixels + m * kLanes);
        transpose(square);
        const int rows = std::min(count_ - m * kLanes, kLanes);
        for (int j = 0; j < rows; ++j) {
          Number* to = destination_.data + (first_ + m * kLanes + j) * channels + c;
          if (run == kLanes)
            store(to, square[j]);
          else
            store_first(to, square[j], run);
        }
      }
    }
  }

  const Block& block_;
  const Source<Number>& source_;
  const Destination<Number>& destination_;
  std::vector<const float*> pointers_;
  float *packed_, *middle_, *last_;
  int64_t offsets_[kMostPixels];
  int64_t image_, first_;
  int count_;
  bool is_plane_;
};

// How the pixels of an output are split into tiles of nearly the same number of vectors.
struct Tiling {
  int64_t images, pixels, tiles;
  int vectors;  // of the largest tile

  // `images` images of `pixels` pixels each, no tile across images; for `threads` threads.
  Tiling(int64_t images, int64_t pixels, int64_t threads) : images(images), pixels(pixels) {
    const int64_t all = (pixels + kLanes - 1) / kLanes;
    const int64_t most = std::clamp<int64_t>(images * all / std::max<int64_t>(threads, 1), 1, kMostVectors);
    tiles = (all + most - 1) / most;
    vectors = static_cast<int>((all + tiles - 1) / tiles);
  }

  // The first pixel of a tile.
  int64_t start(int64_t tile) const {
    const int64_t all = (pixels + kLanes - 1) / kLanes;
    return std::min(pixels, (all * tile / tiles) * kLanes);
  }
};

template <int M, class Number>
void compute_as(const Block& block, const Source<Number>& source, const Destination<Number>& destination,
                const Tiling& tiling, int64_t begin, int64_t end) {
  thread_local std::vector<float> memory;
  Tile<Number, M> tile(block, source, destination, memory);
  for (int64_t number = begin; number < end; ++number) {
    const int64_t image = number / tiling.tiles, place = number % tiling.tiles;
    const int64_t first = tiling.start(place);
    tile.compute(image, first, static_cast<int>(tiling.start(place + 1) - first));
  }
}

// Tiles `begin` to `end - 1` of images * tiles.
template <class Number>
void compute(const Block& block, const Source<Number>& source, const Destination<Number>& destination,
             const Tiling& tiling, int64_t begin, int64_t end) {
  switch (tiling.vectors) {
    case 1:
      return compute_as<1>(block, source, destination, tiling, begin, end);
    case 2:
      return compute_as<2>(block, source, destination, tiling, begin, end);
    case 3:
      return compute_as<3>(block, source, destination, tiling, begin, end);
    default:
      return compute_as<4>(block, source, destination, tiling, begin, end);
  }
}

}  // namespace kswap
