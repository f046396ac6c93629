// hls::vector for simulation on a CPU, as far as integer layers of finn-hlslib use it (AMD UG1399, "HLS Vector Library").
#pragma once

#include <array>
#include <cstddef>

namespace hls {

template <typename T, std::size_t N>
struct vector : std::array<T, N> {
    vector() = default;
    vector(const T& value) { this->fill(value); }
};

}  // namespace hls
