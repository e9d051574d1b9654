import { Body, Controller, Param, ParseUUIDPipe, Post } from '@nestjs/common';
import { IsInt, IsNotEmpty, IsString, Max, Min } from 'class-validator';
import type { Quote } from './quote.entity.js';
import { QuoteSubmitService } from './quote-submit.service.js';

export class SubmitQuoteBody {
  @IsString()
  @IsNotEmpty()
  supplier: string;

  @IsInt()
  @Min(1)
  @Max(2_000_000_000)
  amount: number;
}

@Controller('applications/:id/quotes')
export class QuoteController {
  constructor(private readonly submitting: QuoteSubmitService) {}

  @Post()
  submit(
    @Param('id', ParseUUIDPipe) id: string,
    @Body() { supplier, amount }: SubmitQuoteBody,
  ): Promise<Quote> {
    return this.submitting.submit(id, supplier, amount);
  }
}
