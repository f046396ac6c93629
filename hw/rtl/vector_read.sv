/// Reads pixels for POOL, ADD and MULTIPLY, and unpacks them.
///
/// A request is taken in a cycle with valid_i and ready_o; its pixel and tag come out Latency cycles later,
/// int8 a lane (of 4-bit pixels the even lane is in the low nibble). Requests to the output memory wait
/// while its port writes (output_busy_i). range_error: an access one cycle ago was beyond the end.
module vector_read #(
    parameter  int unsigned Inputs  = 8,
    parameter  int unsigned TagBits = 3,
    localparam int unsigned Latency = dpu_pkg::MemoryLatency + 1
) (
    input  logic                           clk_i,
    input  logic                           rst_ni,
    input  logic                           valid_i,
    output logic                           ready_o,
    input  logic [vector_pkg::SumBits-1:0] address_i,
    input  logic                           from_output_i,
    input  logic                           four_i,
    input  logic [            TagBits-1:0] tag_i,

    output logic                valid_o,
    output logic [ TagBits-1:0] tag_o,
    output logic [Inputs*8-1:0] pixel_o,
    output logic                feature_error_o,
    output logic                output_error_o,

    output logic                            fm_en_o,
    output logic [dpu_pkg::AddressBits-1:0] fm_addr_o,
    output logic [                     1:0] fm_need_o,
    input  logic [            Inputs*8-1:0] fm_data_i,
    input  logic                            fm_range_i,

    input  logic                            output_busy_i,
    output logic                            om_en_o,
    output logic [dpu_pkg::AddressBits-1:0] om_addr_o,
    output logic [                     1:0] om_need_o,
    input  logic [            Inputs*8-1:0] om_data_i,
    input  logic                            om_range_i
);

  typedef struct packed {
    logic valid;
    logic from_output;
    logic four;
    logic [TagBits-1:0] tag;
  } request_t;

  request_t request, arriving;
  request_t [dpu_pkg::MemoryLatency-1:0] reading_q;  // [0] is the latest
  logic beyond_q;
  logic [Inputs*8-1:0] data, unpacked, pixel_q;
  logic [TagBits-1:0] tag_q;
  logic valid_q;

  assign ready_o = !(from_output_i && output_busy_i);
  assign request = '{
          valid: valid_i && ready_o,
          from_output: from_output_i,
          four: four_i,
          tag: tag_i
      };
  assign arriving = reading_q[dpu_pkg::MemoryLatency-1];

  assign fm_en_o = request.valid && !from_output_i;
  assign om_en_o = request.valid && from_output_i;
  assign fm_addr_o = address_i[dpu_pkg::AddressBits-1:0];
  assign om_addr_o = address_i[dpu_pkg::AddressBits-1:0];
  assign fm_need_o = {!four_i, 1'b1};
  assign om_need_o = {!four_i, 1'b1};

  assign feature_error_o = reading_q[0].valid && !reading_q[0].from_output &&
      (beyond_q || fm_range_i);
  assign output_error_o = reading_q[0].valid && reading_q[0].from_output &&
      (beyond_q || om_range_i);

  assign data = arriving.from_output ? om_data_i : fm_data_i;
  for (genvar l = 0; l < Inputs; l++) begin : gen_lane
    assign unpacked[l*8+:8] = arriving.four ? {{4{data[l*4+3]}}, data[l*4+:4]} : data[l*8+:8];
  end

  assign valid_o = valid_q;
  assign tag_o   = tag_q;
  assign pixel_o = pixel_q;

  always_ff @(posedge clk_i) begin
    reading_q <= {reading_q[dpu_pkg::MemoryLatency-2:0], request};
    beyond_q  <= |address_i[vector_pkg::SumBits-1:dpu_pkg::AddressBits];
    valid_q   <= arriving.valid;
    tag_q     <= arriving.tag;
    pixel_q   <= unpacked;
    if (!rst_ni) begin
      for (int unsigned i = 0; i < dpu_pkg::MemoryLatency; i++) reading_q[i].valid <= 1'b0;
      valid_q <= 1'b0;
    end
  end

endmodule
