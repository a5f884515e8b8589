// The operator kswap_native::grouped_block, for LibTorch's stable ABI (torch 2.11 and later).

#include "grouped_block.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <optional>
#include <type_traits>
#include <vector>

namespace {

using torch::stable::Tensor;

using torch::headeronly::ScalarType;

void check_weight(const Tensor& weight, const Tensor& bias, int64_t groups, int64_t inputs, ScalarType type) {
  STD_TORCH_CHECK(weight.scalar_type() == type && bias.scalar_type() == type, "weights have the type of the input");
  STD_TORCH_CHECK(weight.dim() == 2 && weight.is_contiguous(), "a weight is (filters, inputs of a group), contiguous");
  STD_TORCH_CHECK(bias.dim() == 1 && bias.size(0) == weight.size(0) && bias.is_contiguous(), "a bias is (filters,)");
  STD_TORCH_CHECK(groups >= 1 && groups <= weight.size(0), "1 to as many groups as filters");
  const int64_t places = groups * weight.size(1);
  STD_TORCH_CHECK(places >= inputs && places <= 2 * inputs, "groups read each input once or twice");
}

// The numbers of a tensor in float32; those of another type are copied into `memory`.
template <class Number>
const float* in_float32(const Tensor& tensor, std::vector<float>& memory) {
  const auto* data = static_cast<const Number*>(tensor.const_data_ptr());
  if constexpr (std::is_same_v<Number, float>) {
    return data;
  } else {
    memory.resize(tensor.numel());
    std::transform(data, data + memory.size(), memory.begin(), [](Number value) { return kswap::number(value); });
    return memory.data();
  }
}

// Copies of weights and biases, where they are needed.
struct Copies {
  std::vector<float> weight, bias;
};

template <class Number>
kswap::Layer layer_of(const Tensor& weight, const Tensor& bias, int64_t groups, int64_t inputs, int64_t activation,
                      Copies& copies) {
  check_weight(weight, bias, groups, inputs,
               std::is_same_v<Number, float> ? ScalarType::Float : ScalarType::BFloat16);
  STD_TORCH_CHECK(activation >= 0 && activation <= static_cast<int64_t>(kswap::Activation::hard_sigmoid),
                  "no activation has this number");
  const int64_t outputs = weight.size(0);
  return {inputs,
          outputs,
          groups,
          weight.size(1),
          outputs / groups,
          outputs % groups,
          in_float32<Number>(weight, copies.weight),
          in_float32<Number>(bias, copies.bias),
          static_cast<kswap::Activation>(activation)};
}

// Strides of dimensions of size 1 say nothing.
bool is_dense(const Tensor& x, const int (&from_last)[4]) {
  int64_t expected = 1;
  for (int dim : from_last) {
    if (x.size(dim) != 1 && x.stride(dim) != expected) return false;
    expected *= x.size(dim);
  }
  return true;
}

template <class Number>
Tensor grouped_block_of(const Tensor& x, const Tensor& k_weight, const Tensor& k_bias,
                        const std::optional<Tensor>& l_weight, const std::optional<Tensor>& l_bias, int64_t k_groups,
                        int64_t l_groups, int64_t interleave, int64_t k_activation, int64_t l_activation, bool sum,
                        int64_t stride_h, int64_t stride_w) {
  STD_TORCH_CHECK(stride_h >= 1 && stride_w >= 1, "strides are at least 1");
  const int64_t images = x.size(0), channels = x.size(1);
  const int64_t height = (x.size(2) + stride_h - 1) / stride_h, width = (x.size(3) + stride_w - 1) / stride_w;
  kswap::Block block{};
  Copies of_k, of_l;
  block.k = layer_of<Number>(k_weight, k_bias, k_groups, channels, k_activation, of_k);
  const int64_t outputs = block.k.outputs;
  block.has_l = l_weight.has_value();
  if (block.has_l) {
    STD_TORCH_CHECK(l_bias.has_value(), "L has a bias");
    STD_TORCH_CHECK(interleave >= 1, "the step of the interleave is at least 1");
    block.l = layer_of<Number>(*l_weight, *l_bias, l_groups, outputs, l_activation, of_l);
    STD_TORCH_CHECK(block.l.outputs == outputs, "L has as many filters as K");
    block.sum = sum;
    block.order.reserve(outputs);
    for (int64_t start = 0; start < interleave; ++start)
      for (int64_t c = start; c < outputs; c += interleave) block.order.push_back(c);
  }

  const bool contiguous = is_dense(x, {3, 2, 1, 0}), last = !contiguous && is_dense(x, {1, 3, 2, 0});
  Tensor out = torch::stable::empty(
      {images, outputs, height, width}, x.scalar_type(), std::nullopt, x.device(), std::nullopt,
      last ? torch::headeronly::MemoryFormat::ChannelsLast : torch::headeronly::MemoryFormat::Contiguous);
  if (out.numel() == 0) return out;

  const auto* data = static_cast<const Number*>(x.const_data_ptr());
  int64_t reach = 1;
  for (int dim = 0; dim < 4; ++dim) reach += (x.size(dim) - 1) * x.stride(dim);
  const bool rows = last || height * width == 1;
  kswap::Source<Number> source{
      data, data + reach, x.stride(0), x.stride(1), x.stride(2) * stride_h, x.stride(3) * stride_w, height, width};
  if (x.size(1) == 1) source.channel = 1;
  if (contiguous) {  // whatever the strides of dimensions of size 1 are
    const int64_t area = x.size(2) * x.size(3);
    source = {data, data + reach, channels * area, area, x.size(3) * stride_h, stride_w, height, width};
  }
  kswap::Destination<Number> destination{static_cast<Number*>(out.mutable_data_ptr()), outputs, height * width, rows};
  uint32_t threads = 1;
  torch_get_num_threads(&threads);
  const kswap::Tiling tiling(rows ? 1 : images, rows ? images * height * width : height * width, threads);
  torch::stable::parallel_for(0, tiling.images * tiling.tiles, 1, [&](int64_t begin, int64_t end) {
    kswap::compute(block, source, destination, tiling, begin, end);
  });
  return out;
}

Tensor grouped_block(const Tensor& x, const Tensor& k_weight, const Tensor& k_bias,
                     const std::optional<Tensor>& l_weight, const std::optional<Tensor>& l_bias, int64_t k_groups,
                     int64_t l_groups, int64_t interleave, int64_t k_activation, int64_t l_activation, bool sum,
                     int64_t stride_h, int64_t stride_w) {
  const ScalarType type = x.scalar_type();
  STD_TORCH_CHECK(x.dim() == 4 && (type == ScalarType::Float || type == ScalarType::BFloat16),
                  "the input is (N, C, H, W) of float32 or bfloat16");
  const auto run = type == ScalarType::Float ? grouped_block_of<float> : grouped_block_of<kswap::Bfloat16>;
  return run(x, k_weight, k_bias, l_weight, l_bias, k_groups, l_groups, interleave, k_activation, l_activation, sum,
             stride_h, stride_w);
}

}  // namespace

STABLE_TORCH_LIBRARY(kswap_native, m) {
  m.def(
      "grouped_block(Tensor x, Tensor k_weight, Tensor k_bias, Tensor? l_weight, Tensor? l_bias, int k_groups, "
      "int l_groups, int interleave, int k_activation, int l_activation, bool sum, int stride_h, int stride_w) "
      "-> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(kswap_native, CPU, m) { m.impl("grouped_block", TORCH_BOX(&grouped_block)); }
