/// Maps pixels through a table, if asked, and writes them to the output memory one after the other.
///
/// Layout: 8 bits a lane, or 4 with `four` (even lane in the low nibble). A pixel is written TableLatency + 1
/// cycles after valid_i. Two cycles after the write of the final pixel done_o tells that it was inside the
/// memory; output_error_o and table_error_o come one cycle after the access at fault.
module vector_write #(
    parameter int unsigned Inputs = 8
) (
    input  logic                            clk_i,
    input  logic                            rst_ni,
    input  logic                            load_i,
    input  logic [dpu_pkg::AddressBits-1:0] address_i,
    input  logic                            four_i,
    input  logic                            table_i,
    input  logic                            valid_i,
    input  logic                            final_i,
    input  logic [            Inputs*8-1:0] pixel_i,
    output logic                            done_o,
    output logic                            output_error_o,
    output logic                            table_error_o,

    output logic                vector_en_o,
    output logic [Inputs*8-1:0] vector_o,
    input  logic [Inputs*8-1:0] vector_i,
    input  logic                range_vector_i,

    output logic                            om_en_o,
    output logic [dpu_pkg::AddressBits-1:0] om_addr_o,
    output logic [                     1:0] om_need_o,
    output logic [              Inputs-1:0] om_strobe_o,
    output logic [            Inputs*8-1:0] om_data_o,
    input  logic                            om_range_i
);

  localparam int unsigned SumBits = vector_pkg::SumBits;
  localparam int unsigned TableLatency = dpu_pkg::MemoryLatency;

  logic [TableLatency-1:0] valid_q, final_q;
  logic [TableLatency-1:0][Inputs*8-1:0] pixel_q;
  logic [Inputs*8-1:0] mapped, packed4, data_q;
  logic write_q, final_write_q, written_q, final_written_q, beyond_q, done_q, looked_up_q;
  logic [SumBits-1:0] address_q;

  assign vector_en_o = valid_i && table_i;
  assign vector_o = pixel_i;
  assign table_error_o = looked_up_q && range_vector_i;

  assign mapped = table_i ? vector_i : pixel_q[TableLatency-1];
  for (genvar l = 0; l < Inputs; l++) begin : gen_lane
    assign packed4[l*4+:4] = mapped[l*8+:4];
  end
  assign packed4[Inputs*8-1:Inputs*4] = '0;

  assign om_en_o = write_q;
  assign om_addr_o = address_q[dpu_pkg::AddressBits-1:0];
  assign om_need_o = {!four_i, 1'b1};
  assign om_strobe_o = {{Inputs / 2{!four_i}}, {Inputs / 2{1'b1}}};
  assign om_data_o = data_q;
  assign output_error_o = written_q && (beyond_q || om_range_i);
  assign done_o = done_q;

  always_ff @(posedge clk_i) begin
    pixel_q <= {pixel_q[TableLatency-2:0], pixel_i};
    final_q <= {final_q[TableLatency-2:0], final_i};
    data_q <= four_i ? packed4 : mapped;
    final_write_q <= final_q[TableLatency-1];
    final_written_q <= final_write_q;
    beyond_q <= |address_q[SumBits-1:dpu_pkg::AddressBits];
    if (load_i) address_q <= SumBits'(address_i);
    else if (write_q) address_q <= address_q + (four_i ? SumBits'(1) : SumBits'(2));
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= '0;
      write_q <= 1'b0;
      written_q <= 1'b0;
      done_q <= 1'b0;
      looked_up_q <= 1'b0;
    end else begin
      valid_q <= {valid_q[TableLatency-2:0], valid_i};
      write_q <= valid_q[TableLatency-1];
      written_q <= write_q;
      done_q <= written_q && final_written_q && !output_error_o;
      looked_up_q <= vector_en_o;
    end
  end

endmodule
